# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way through to a Docker Engine: the few calls that AppAPI makes of it itself (contract, 3.5; 136–141).

HAProxy carries them itself, all but the pulling of an image, which the agent carries and looks at. An engine is asked
without a version in the path, in its own: one that is older or newer than the version that AppAPI was written for would
answer 400 otherwise. What an engine need not know does not reach it: the shared key, and AppAPI's password, which is
the same key.
"""

from harp.proxy.model import ENGINE_PORTS, EngineAddress
from harp.proxy.policy.shape import AS_ASKED, TEXTS, Shape, quoted

_VERSION = r"^(/v[0-9.]+)?"
_IMAGE = "[a-z0-9][a-z0-9_.:/@-]*"
_ALLOWED = {
    rf"{_VERSION}/_ping$": "METH_GET",
    rf"{_VERSION}/images/{_IMAGE}/json$": "METH_GET",
    rf"{_VERSION}/containers/nc_app_[a-z0-9_.-]+/(json|logs)$": "METH_GET",
}
_PULL = rf"{_VERSION}/images/create$"
_SECRETS = ("harp-shared-key", "authorization", "cookie", "docker-engine-port", "ex-app-host", "ex-app-port")
_PORT = "req.hdr(docker-engine-port)"
_DECODED = "path,url_dec -m reg -i"
_CONNECT = "4s"


def choice(shape: Shape) -> list[str]:
    """Which backend has an engine's call; ``control`` is the frontend's own condition."""
    call = "{ req.hdr(docker-engine-port) -m len gt 0 } !{ path_beg /exapps/app_api/docker/ }"
    return [
        f"    use_backend pulls if control {call} METH_POST {{ path,url_dec -m end -i /images/create }}",
        *(
            f"    use_backend {_name(engine)} if control {call} {{ {_PORT} -m str {engine.port} }}"
            for engine in shape.engines
        ),
        f"    use_backend docker if control {call}",
    ]


def backends(shape: Shape) -> list[list[str]]:
    """One for each engine that is set, one for those that come through FRP, to a port of loopback, one for pulls."""
    return [*(_engine(engine) for engine in shape.engines), _tunnelled(), _pulls(shape)]


def _name(engine: EngineAddress) -> str:
    return f"engine{engine.port}"


def _engine(engine: EngineAddress) -> list[str]:
    place = quoted(f"unix@{engine.place}" if engine.kind == "unix" else engine.place)
    names = "" if engine.kind == "unix" else " init-addr last,libc,none"
    return [
        f"backend {_name(engine)}",
        *_allowed(),
        *_unreachable(f"the Docker Engine {engine.port} at {engine.url} (HP_DOCKER_ENGINES) cannot be reached"),
        f"    server engine {place}{names}",
        "",
    ]


def _tunnelled() -> list[str]:
    least, most = ENGINE_PORTS[0], ENGINE_PORTS[-1]
    unknown = f"{TEXTS[503]}: HP_DOCKER_ENGINES names no such engine"
    return [
        "backend docker",
        f'    http-request return status 503 content-type text/plain string "{TEXTS[503]}"'
        f' unless {{ {_PORT} -m reg "^[0-9]{{1,5}}\\$" }} {{ {_PORT} -m int 1:65535 }}',
        f"    http-request set-dst-port {_PORT}",
        f"    http-request set-var(txn.numbered) bool(true) if {{ {_PORT} -m int {least}:{most} }}",
        *_allowed(),
        f"    http-request return status 503 content-type text/plain string {quoted(unknown)}"
        " if !{ var(txn.numbered) -m found }",
        *_unreachable("no Docker Engine has come through FRP under this number, and HP_DOCKER_ENGINES names none"),
        "    server engine 127.0.0.1",
        "",
    ]


def _pulls(shape: Shape) -> list[str]:
    return [
        "backend pulls",
        f"    {AS_ASKED}",
        f"    http-request deny deny_status 403 if !{{ {_DECODED} {quoted(_PULL)} }}",
        # With fromSrc an image would be made of whatever stands in the body, or at any address. An engine reads it in
        # any encoding; from a form in the body too, which the agent does not pass on.
        "    http-request deny deny_status 403 if { query,url_dec -m sub -i fromsrc }",
        "    http-request set-path /docker/pull",
        *_unreachable("Harp's agent, which carries what an engine tells, does not answer"),
        f"    server control {quoted('unix@' + shape.control)}",
        "",
    ]


def _allowed() -> list[str]:
    return [
        f"    {AS_ASKED}",
        *(
            f"    http-request set-var(txn.engine) bool(true) if {{ {_DECODED} {quoted(pattern)} }} {method}"
            for pattern, method in _ALLOWED.items()
        ),
        "    http-request deny deny_status 403 if !{ var(txn.engine) -m found }",
        r"    http-request replace-path ^/[vV][0-9.]+(/.*)$ \1",
        *(f"    http-request del-header {name}" for name in _SECRETS),
    ]


def _unreachable(why: str) -> list[str]:
    return [
        f"    http-error status 503 content-type text/plain string {quoted(f'{TEXTS[503]}: {why}')}",
        f"    timeout connect {_CONNECT}",
        "    retries 0",
    ]
