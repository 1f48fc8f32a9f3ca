"""Who may speak to the server, what is refused before it is read, and what no request can open."""

import http.client
import re
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest

import diffprior
from diffprior.server.limits import Limits
from diffprior.server.security import hosts_of
from diffprior.server.service import Config

from support.web import API, TOKEN, picture, png, sentence, serving, upload

STEP = {"steps": "1", "sigma": "0.1", "method": "dpir(start=0.2)"}


@pytest.fixture(scope="module")
def stranger(client):
    """A client without a token."""
    with httpx.Client(base_url=client.base_url) as stranger:
        yield stranger


@pytest.fixture(scope="module")
def small():
    """A client of a server with tight limits."""
    limits = Limits(pixels=5000, bytes=20_000, images=3)
    with serving(Config(token=TOKEN, limits=limits)) as client:
        yield client


def raw(client, text: str) -> tuple[int, bytes]:
    """Send bytes as they are; return the status and the body of the answer."""
    with socket.create_connection((client.base_url.host, client.base_url.port)) as line:
        line.sendall(text.encode())
        answer = http.client.HTTPResponse(line)
        answer.begin()
        return answer.status, answer.read()


def test_nothing_is_said_without_the_token(client, stranger):
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    for path, methods in paths.items():
        if path == "/healthz":
            continue
        address = re.sub(r"\{k\}", "1", re.sub(r"\{id\}", "x", path))
        for method in methods:
            text = sentence(stranger.request(method, address), 401)
            assert text.startswith("a token is needed")
    assert stranger.get("/healthz").json() == {"ok": True}
    assert stranger.get(f"{API}/openapi.json").status_code == 401
    assert stranger.get("/page/style.css").status_code == 401
    for wrong in (
        "Bearer nonsense",
        "Bearer",
        f"Basic {TOKEN}",
        "Bearer \u00e9",
        f"Bearer {TOKEN}x",
    ):
        headers = {"Authorization": wrong.encode("utf-8")}
        sentence(stranger.get(f"{API}/tasks", headers=headers), 401)


def test_the_first_address_gives_a_cookie_that_no_script_reads(client, stranger):
    answer = stranger.get("/", params={"token": TOKEN, "lang": "en"})
    assert answer.status_code == 303 and answer.headers["location"] == "/?lang=en"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    name = f"diffprior_token_{client.base_url.port}"
    assert cookie.startswith(f"{name}={TOKEN}")
    stranger.cookies.clear()
    jar = {"Cookie": f"other=1; {name}={TOKEN}"}
    assert stranger.get(f"{API}/tasks", headers=jar).status_code == 200
    assert stranger.get(f"{API}/tasks", params={"token": TOKEN}).status_code == 200
    form = {"file": ("a.png", png(picture(8, 8)))}
    sentence(stranger.post(f"{API}/images", params={"token": TOKEN}, files=form), 401)
    page = stranger.get("/", params={"token": "wrong"})
    assert page.status_code == 401 and page.headers["content-type"].startswith("text/html")
    assert "a token is needed" in page.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "", "[::2]"]
)
def test_another_host_is_refused_even_with_the_token(client, host):
    port = client.base_url.port
    line = f"Host: {host.format(port=port)}\r\n"
    request = f"GET {API}/tasks HTTP/1.1\r\n{line}Authorization: Bearer {TOKEN}\r\n\r\n"
    assert raw(client, request)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_names_of_this_machine_are_the_servers(client, host):
    headers = {"Host": f"{host}:{client.base_url.port}"}
    assert client.get(f"{API}/tasks", headers=headers).status_code == 200


def test_the_hosts_of_a_server_for_all_are_numbers_and_its_name(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")
    assert {"box:80", "box.local", "127.0.0.1"} <= hosts_of("0.0.0.0", 80)
    assert hosts_of("photos.example", 8080) >= {"photos.example:8080", "localhost:8080"}
    with serving(Config(token=TOKEN, host="0.0.0.0")) as client:
        port = client.base_url.port
        for host in ("192.168.1.7:8080", "[fe80::1]:9", f"localhost:{port}"):
            assert client.get(f"{API}/tasks", headers={"Host": host}).status_code == 200
        for host in ("evil.example", f"evil.example:{port}", "192.168.1.7.evil.example"):
            sentence(client.get(f"{API}/tasks", headers={"Host": host}), 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_page_of_another_origin_changes_nothing(client, headers):
    form = {"file": ("a.png", png(picture(8, 8)))}
    before = client.get(f"{API}/images").json()
    text = sentence(client.post(f"{API}/images", files=form, headers=headers), 403)
    assert text == "a page of another origin may not ask this"
    sentence(client.delete(f"{API}/images/x", headers=headers), 403)
    assert client.get(f"{API}/images").json() == before


def test_a_browser_that_does_not_say_where_it_comes_from_changes_nothing(client, stranger):
    jar = {"Cookie": f"diffprior_token_{client.base_url.port}={TOKEN}"}
    form = {"file": ("a.png", png(picture(8, 8)))}
    sentence(stranger.post(f"{API}/images", files=form, headers=jar), 403)
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert stranger.post(f"{API}/images", files=form, headers=jar | own).status_code == 201
    site = {"Sec-Fetch-Site": "same-origin"}
    assert stranger.post(f"{API}/images", files=form, headers=jar | site).status_code == 201
    cross = {"Sec-Fetch-Site": "cross-site"}
    sentence(stranger.get(f"{API}/images", headers=jar | cross), 403)
    assert stranger.get("/", headers=jar | cross).status_code in (200, 404)  # a link to the page


def test_without_a_token_host_and_origin_are_still_checked():
    with serving(Config(token="none")) as client:
        del client.headers["Authorization"]
        assert client.get(f"{API}/tasks").status_code == 200
        form = {"file": ("a.png", png(picture(8, 8)))}
        assert client.post(f"{API}/images", files=form).status_code == 201
        origin = {"Origin": "http://evil.example"}
        sentence(client.post(f"{API}/images", files=form, headers=origin), 403)
        sentence(client.get(f"{API}/tasks", headers={"Host": "evil.example"}), 421)


def test_every_answer_has_the_headers_that_bind_a_browser(client, stranger):
    image = upload(client, png(picture(8, 8)))
    answers = [
        client.get("/healthz"),
        client.get(f"{API}/tasks"),
        client.get(image["preview"]),
        client.get(f"{API}/images/{image['id']}/file"),
        client.get(f"{API}/nothing"),
        client.get("/page/nothing.js"),
        stranger.get("/"),
        stranger.get(f"{API}/tasks"),
        client.post(f"{API}/images", json={}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_preflight_of_another_origin_allows_nothing(client):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options(f"{API}/images", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_request_that_is_too_long_is_refused_before_it_is_read(small):
    long = {"file": ("a.png", bytes(30_000))}
    text = sentence(small.post(f"{API}/images", files=long), 413)
    assert text == (
        "the request has more than 20000 bytes; --max-bytes of diffprior serve allows more"
    )
    head = (
        f"POST {API}/images HTTP/1.1\r\nHost: 127.0.0.1:{small.base_url.port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    )
    assert raw(small, f"{head}Content-Length: {10**15}\r\n\r\n")[0] == 413
    assert raw(small, f"{head}Content-Length: {'9' * 400}\r\n\r\n")[0] in (400, 413)


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/json"])
def test_a_request_without_a_length_is_refused_once_it_is_too_long(small, kind):
    def parts():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(1000)

    task = "inpaint" if kind == "application/json" else "images"
    headers = {"Content-Type": kind}
    try:
        answer = small.post(f"{API}/{task}", content=parts(), headers=headers)
    except httpx.TransportError:
        return  # the answer came before all was sent, and the line is closed
    sentence(answer, 413)


def test_the_pixels_of_an_image_are_counted_before_it_is_decoded(small):
    bomb = png(np.zeros((3000, 3000), np.uint8))
    assert len(bomb) < 20_000
    text = sentence(small.post(f"{API}/images", files={"file": ("bomb.png", bomb)}), 413)
    assert text.startswith("bomb.png: it is larger than the limit of 5000 pixels")
    sentence(small.post(f"{API}/denoise", files={"image": ("bomb.png", bomb)}), 413)
    image = upload(small, png(picture(8, 8)))["id"]
    sent = {"mask": ("bomb.png", bomb)}
    sentence(small.post(f"{API}/inpaint", data={"image": image}, files=sent), 413)


def test_the_oldest_images_are_forgotten_with_their_files(small):
    first = upload(small, png(picture(8, 8)), "first.png")["id"]
    for k in range(4):
        upload(small, png(picture(8, 8)), f"{k}.png")
    names = [image["name"] for image in small.get(f"{API}/images").json()]
    assert names == ["1.png", "2.png", "3.png"]
    sentence(small.get(f"{API}/images/{first}/file"), 404)
    assert len(list(small.service.folder.glob("*.file"))) == 3
    assert len(list(small.service.folder.glob("*.preview"))) == 3


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with files that a request might name."""
    monkeypatch.chdir(tmp_path)
    kernel = np.full((3, 3), 200, np.uint8)
    Path("kernel.png").write_bytes(png(kernel))
    Path("gaussian").write_bytes(png(kernel))
    Path("kernel").write_bytes(png(kernel))
    Path("code.safetensors").write_bytes(b"secret")
    return tmp_path


OWN = str(Path(diffprior.__file__).parent)
NAMED = [
    *(("deblur", "kernel", name) for name in ("kernel.png", "{}/kernel.png", "kernel", ".", "")),
    *(("restore", "blur", name) for name in ("kernel.png", "{}/kernel.png", "kernel")),
    ("edit", "inversion", "code.safetensors"),
    ("edit", "inversion", "{}/code.safetensors"),
    ("edit", "inversion", "{}/"),
    ("edit", "inversion", "os.system('true')"),
    ("edit", "attention", "__import__('os').system('touch owned')"),
    ("denoise", "method", "dpir(start=open('{}/kernel.png'))"),
    ("denoise", "method", "mmps(sampler='{}/kernel.png')"),
    ("denoise", "method", "blur(kernel='kernel.png')"),
    ("reconstruct", "operator", "blur(kernel='kernel.png')"),
    ("reconstruct", "operator", "blur(kernel='kernel')"),
    ("reconstruct", "operator", "circular_blur(kernel='{}/kernel.png')"),
    ("reconstruct", "operator", "average(factor=2) @ blur(kernel='kernel.png')"),
    ("reconstruct", "operator", "blur(kernel=['kernel.png'])"),
    ("reconstruct", "operator", "(lambda: open('kernel.png'))()"),
    ("reconstruct", "operator", "blur(**dict(kernel='kernel.png'))"),
    ("generate", "sampler", "ddim(steps=__import__('os').getpid())"),
    ("inpaint", "mask", "{}/kernel.png"),
    ("inpaint", "reference", "kernel.png"),
    ("denoise", "image", "{}/kernel.png"),
    ("denoise", "prior", "{}/kernel.png"),
    ("denoise", "lora", "kernel.png"),
    ("denoise", "controlnet", "kernel.png"),
    ("denoise", "device", "cpu"),
]


@pytest.mark.parametrize(("task", "field", "text"), NAMED)
def test_no_path_from_a_request_is_opened_and_no_code_is_run(
    client, here, monkeypatch, task, field, text
):
    text = text.format(here)
    inside = str(here)
    opened: list[str] = []
    watching = [True]

    def watch(event, arguments):
        if watching and event in ("open", "os.listdir", "os.scandir"):
            name = str(arguments[0])
            if name.startswith(OWN):  # modules and the server's prior, at the first request
                return
            if "kernel" in name or "safetensors" in name or name.startswith(inside):
                opened.append(name)

    import sys

    sys.addaudithook(watch)  # which cannot be taken away again, so it is switched off
    form = {"wait": "true", "steps": "1"} | {field: text}
    sent = {}
    if task == "reconstruct":
        form |= {"width": "8", "height": "8"}
        sent = {"image": ("y.npy", npy(np.zeros((3, 8, 8), np.float32)))}
    elif field != "image" and task != "generate":
        sent = {"image": ("a.png", png(picture(16, 16, 3)))}
    answer = client.post(f"{API}/{task}", data=form, files=sent or None)
    watching.clear()
    assert answer.status_code in (400, 404, 422), answer.text
    assert inside not in sentence(answer, answer.status_code) or text in answer.text
    assert not opened
    assert not Path("owned").exists()


def npy(array) -> bytes:
    import io

    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


@pytest.mark.parametrize(
    "address",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        f"{API}/images/..%2f..%2fetc%2fpasswd/file",
        f"{API}/jobs/..%2f..%2f/results/1",
        f"{API}/../../etc/passwd",
    ],
)
def test_no_address_leads_out_of_the_page(client, address):
    request = (
        f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{client.base_url.port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    status, body = raw(client, request)
    assert status == 404 and b"root:" not in body and b"import" not in body


def test_names_of_files_are_data_in_every_answer(client):
    name = '"><script>alert(1)</script>\r\nX-Evil: 1.png'
    image = upload(client, png(picture(8, 8)), name)
    assert "\n" not in image["name"] and "\r" not in image["name"]
    answer = client.get(f"{API}/images/{image['id']}/file")
    assert "x-evil" not in answer.headers
    assert answer.headers["content-type"] in ("image/png", "application/octet-stream")
    listed = client.get(f"{API}/images")
    assert listed.headers["content-type"] == "application/json"
    ticket = client.post(f"{API}/denoise", data={"image": image["id"], **STEP}).json()
    info = client.get(ticket["url"])
    assert info.headers["content-type"] == "application/json"
    page = upload(client, png(picture(8, 8)), "page.html")
    kind = client.get(f"{API}/images/{page['id']}/file").headers["content-type"]
    assert kind == "application/octet-stream"


def test_the_command_of_a_job_is_safe_to_paste(client):
    import shlex

    name = "-o $(touch owned); `x` 'y'.png"
    image = upload(client, png(picture(8, 8)), name)
    ticket = client.post(f"{API}/denoise", data={"image": image["id"], **STEP}).json()
    words = shlex.split(client.get(ticket["url"]).json()["command"])
    assert words[:2] == ["diffprior", "denoise"] and words[2] == f"./{name}"
