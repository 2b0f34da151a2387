"""The URL of a graph store on a server."""

import pytest

from catena.errors import ConfigError
from catena.graphs import StoreUrl, without_password

URL = "postgresql://me%40lab:s%2Fcret@db:5433/graphs?namespace=fib25_medulla&sslmode=require"


def test_takes_a_url_apart() -> None:
    assert StoreUrl.parse(URL) == StoreUrl(
        "postgresql", "db:5433", "graphs", "me@lab", "s/cret", "fib25_medulla", {"sslmode": "require"}
    )


def test_shows_no_password() -> None:
    url = StoreUrl.parse(URL)
    assert str(url) == URL.replace(":s%2Fcret", "")
    assert "cret" not in repr(url)
    assert StoreUrl.parse(str(url)).password == ""
    assert without_password(URL) == URL.replace("s%2Fcret", "***")
    assert without_password(str(url)) == str(url)


def test_takes_a_missing_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATENA_STORE_PASSWORD", "from outside")
    assert StoreUrl.parse("mongodb://me@a,b:27018/graphs").secret == "from outside"
    assert StoreUrl.parse(URL).secret == "s/cret"


@pytest.mark.parametrize("url", ["postgresql://host", "postgresql:///graphs", "mongodb://me:x@host/a/b"])
def test_refuses_a_url_without_host_or_database(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected \w+://\[USER@\]HOST\[:PORT\]/DATABASE") as error:
        StoreUrl.parse(url)
    assert ":x@" not in str(error.value)


def test_refuses_a_bad_namespace() -> None:
    with pytest.raises(ConfigError, match="a namespace is a small letter"):
        StoreUrl.parse("mongodb://host/graphs?namespace=Fib-25")
