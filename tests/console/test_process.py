"""The console as an operator runs it: `python -m console`."""

from __future__ import annotations

import http.cookiejar
import re
import subprocess
import sys
import urllib.parse
import urllib.request

from console.serve import configuration
from shared.operations.staff import create_staff
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY, environment_of
from tests.servers.process import ROOT


def test_it_serves_the_sign_in_page_and_exits_with_0(start_console, bound_database, any_database_url, redis_url):
    create_staff("ana@yout.example", "owner", "correct horse battery", origin=ORIGIN)
    console = start_console(database_url=any_database_url, redis_url=redis_url)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = opener.open(f"{console.url}/login").read().decode()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page).group(1)
    fields = {"csrf_token": token, "email": "ana@yout.example", "password": "correct horse battery"}
    answer = opener.open(f"{console.url}/login", urllib.parse.urlencode(fields).encode())
    assert "server" not in answer.headers
    assert answer.url == f"{console.url}/"
    assert "The last 24 hours" in answer.read().decode()
    assert console.terminate() == 0
    assert console.process.output() == ""


def _run(folder, **settings) -> subprocess.CompletedProcess:
    environ = {"PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY, "YOUT_DATA_DIR": str(folder), **environment_of(settings)}
    return subprocess.run([sys.executable, "-m", "console"], env=environ, cwd=folder, capture_output=True, text=True, timeout=60)


def test_an_invalid_setting_prints_one_line_and_exits_with_2(tmp_path):
    ended = _run(tmp_path, console_port="many")
    assert (ended.returncode, ended.stderr) == (2, "console: YOUT_CONSOLE_PORT must be a whole number, not 'many'.\n")


def test_an_unmigrated_schema_prints_one_line_and_exits_with_2(tmp_path, empty_database_url):
    ended = _run(tmp_path, database_url=empty_database_url)
    assert ended.returncode == 2
    assert re.fullmatch(r"console: The database is missing the migration .* Run `yout migrate` first\.\n", ended.stderr)


def test_an_ipv6_address_can_be_bound(make_settings):
    assert configuration(make_settings(bind_host="::1", console_port=81))["bind"] == "[::1]:81"


def test_a_trusted_ipv4_proxy_matches_its_ipv6_mapped_address(make_settings):
    trusted = make_settings(bind_host="::", trusted_proxies=("10.1.2.3/8", "::ffff:192.0.2.1", "2001:db8::1"))
    allowed = configuration(trusted)["forwarded_allow_ips"].split(",")
    assert allowed == ["10.0.0.0/8", "::ffff:10.0.0.0/104", "192.0.2.1/32", "::ffff:192.0.2.1/128", "2001:db8::1/128"]
