# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routes of an app that nobody would write, and paths that may match them, for hypothesis to choose from."""

from hypothesis import strategies as st

from harp.proxy.model import Level, Route
from harp.proxy.policy import decide, patterns

HOSTILE = [
    r"(a+)+",
    r"^/(a+)+$",
    r"^/admin/(\w|-)*$",
    r"^/[\w-]*$",
    r"^/x(/.*)?$",
    r"a{,2}",
    r"^/[[:alpha:]]+",
    r"^/\h+",
    r"^/a\Kb",
    r"\Q/a\E",
    r"(?i)^/A",
    r"^/.*\.js$",
    r"^/(\d+|x)-?$",
    r"^/[^/]+/[^/]+$",
    r"",
    r"#",
    r"^/ #x",
    r"^/\.\./",
    r"^/%2e",
    r"/a|/b",
    r"^/a$|^/b",
    r"^/[!-~]{3,5}$",
    r"/.?.?x",
    r"$",
    r"^/a\Z",
    r"\A/a",
    r"/[\s\S]b",
    r"/[^\W\d]b",
    r"^^/a",
    r"/(|a)b",
]

levels = st.sampled_from(Level)
atoms = st.sampled_from(
    [
        "a",
        "b",
        "/",
        "-",
        ".",
        r"\.",
        r"\w",
        r"\d",
        "[a-c]",
        "[^/]",
        "[^a-z]",
        "(?:ab|a)",
        "(b|/a)",
        r"\s",
        "x",
        "%",
        "$",
    ]
)
repeats = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "*?", "{,2}"])
made = st.lists(st.tuples(atoms, repeats).map("".join), max_size=6).map("".join)
written = st.one_of(made.map(lambda p: "^/" + p), made, st.sampled_from(HOSTILE)).filter(patterns.is_valid)
route_lists = st.lists(st.builds(Route, written, levels), max_size=6).map(tuple)
targets = (
    st.text(alphabet="ab/-.x1%_~!$&()*+,;=:@", max_size=30)
    .map(lambda t: "/" + t)
    .filter(lambda t: not decide.climbs(t))
)
