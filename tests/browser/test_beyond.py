# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console beyond this machine: behind a real nginx under a path, or with TLS and a password of its own."""

import datetime as dt
import ipaddress
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, Page, expect

from harp.bridge import browsing
from harp.cli.client import at
from harp.console import password
from tests.browser import visit
from tests.fakes.ports import free_port
from tests.integration.office import NAME, Desk, Office, console_address, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin") or ""
WORD = "correct horse battery"
HOST = "nas.example"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One that finds nas.example on this machine, and does not mind who signed its certificate."""
    with visit.opened("--ignore-certificate-errors", f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as found:
        yield found


def certificate(folder: Path) -> Path:
    """A certificate for nas.example, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem


def with_password(desk: Desk) -> Desk:
    desk.home.mkdir(mode=0o700)
    password.store(desk.home, WORD)
    return desk.start(desk.folder)


def follows_by_itself(page: Page, desk: Desk) -> None:
    page.get_by_role("main").get_by_role("link", name=NAME, exact=True).click()
    expect(page.get_by_text("Nothing yet: put a file into the folder.")).to_be_visible()
    desk.write("new.txt", b"new")
    expect(page.get_by_role("link", name="new.txt")).to_be_visible()


@pytest.mark.skipif(not NGINX, reason="there is no nginx here: sudo apt install nginx-light")
def test_behind_nginx_under_a_path(office: Office, browser: Browser, tmp_path: Path) -> None:
    port, pem = free_port(), certificate(tmp_path)
    url = f"https://{HOST}:{port}/harp"
    desk = with_password(office.desk("ada", console=console_address(), console_url=url))
    upstream = desk._settings["console"]
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr warn; events {{}}\n"
        f"http {{ access_log off; {_own_folders(tmp_path)}"
        f" server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {pem};"
        f" location /harp/ {{ proxy_pass http://{upstream}; proxy_set_header Host $http_host; }} }} }}\n"
    )
    with subprocess.Popen([NGINX, "-e", "stderr", "-c", str(configuration)], stderr=subprocess.DEVNULL) as nginx:
        try:
            page = visit.person(browser).new_page()
            until(lambda: _reached(page, f"{url}/"), "nginx answers")
            page.get_by_label("Or the password").fill("not the password")
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_text("That is not the password.")).to_be_visible()
            page.get_by_label("Or the password").fill(WORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{url}/")
            (cookie,) = [one for one in page.context.cookies() if one["name"].startswith("harp-")]
            assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/harp/", True, True)
            follows_by_itself(page, desk)
            page.get_by_role("button", name="Pause").click()
            expect(page.get_by_text("Paused: nothing is looked at")).to_be_visible()
            assert desk.status().state.value == "paused"
        finally:
            nginx.terminate()


def _own_folders(tmp_path: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in kinds)


def _reached(page: Page, url: str) -> bool:
    try:
        page.goto(url)
    except Exception:  # noqa: BLE001 - whatever it is: not yet
        return False
    return page.get_by_label("Or the password").count() == 1


def test_ten_wrong_passwords_and_a_used_link_let_nobody_in(office: Office, browser: Browser) -> None:
    desk = with_password(office.desk("ada", console=console_address()))
    link = desk.client.post(at("console"), browsing.ConsoleLink, {}).link
    first, second = visit.person(browser).new_page(), visit.person(browser).new_page()
    first.goto(link)
    first.wait_for_url(lambda url: "/in/" not in url)
    second.goto(link)
    expect(second.get_by_role("alert")).to_have_text("This link was used already, or is too old.")
    assert visit.faults(second) == []
    for number in range(10):
        second.get_by_label("Or the password").fill(f"wrong {number}")
        second.get_by_role("button", name="Log in").click()
        expect(second.get_by_role("alert")).to_have_text(re.compile("^(That is not the|Too many wrong) password"))
    second.get_by_label("Or the password").fill(WORD)
    second.get_by_role("button", name="Log in").click()
    expect(second.get_by_role("alert")).to_contain_text("Too many wrong passwords.")
    assert second.context.cookies() == []
    # Who is in is not kept out by who guesses.
    first.reload()
    expect(first.get_by_role("heading", level=1)).to_have_text("ada")


def test_bound_to_the_network_with_tls_and_a_password(office: Office, browser: Browser, tmp_path: Path) -> None:
    port, pem = free_port(), certificate(tmp_path)
    settings = {"console": f"0.0.0.0:{port}", "console_certificate": str(pem)}
    bare = office.desk("bare", **settings)
    bare.launch(bare.folder)
    assert bare.process is not None
    assert bare.process.wait(30) == 3, "without a password it does not start"
    assert "cannot be reached at 0.0.0.0" in bare.log.read_text()
    assert "harp console --set-password" in bare.log.read_text()

    desk = with_password(office.desk("ada", **settings))
    link = desk.client.post(at("console"), browsing.ConsoleLink, {}).link
    assert link.startswith(f"https://{HOST}:{port}/in/")
    page = visit.person(browser).new_page()
    page.goto(link)
    page.wait_for_url(f"https://{HOST}:{port}/")
    follows_by_itself(page, desk)
    other = visit.person(browser).new_page()
    other.goto(f"https://127.0.0.1:{port}/")
    expect(other.get_by_label("Or the password")).to_be_visible()
