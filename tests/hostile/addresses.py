"""300 ways to spell an address that a service should not ask, most of them this machine's."""

from __future__ import annotations

from collections.abc import Iterator

LOOPBACK = (
    "127.0.0.1", "127.1", "127.0.1", "127.000.000.001", "0177.0.0.1", "0177.0.0.01", "0x7f.0.0.1",
    "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.127.127.127", "0", "0.0.0.0",
    "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "ip6-localhost",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[::ffff:0:127.0.0.1]", "[fe80::1%25lo]",
    "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127.0.0.1.", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
    "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fc00::1]", "[ff02::1]",
    "metadata.google.internal",
)  # fmt: skip
SCHEMES = ("https", "http", "HTTPS", "ftp", "file", "gopher")
TRICKS = (
    "https://{listed}@{host}:{port}/a.tif",
    "https://{listed}:443@{host}:{port}/a.tif",
    "https://{host}:{port}#@{listed}/a.tif",
    "https://{host}:{port}?@{listed}/a.tif",
    "https://{host}:{port}\\@{listed}/a.tif",
    "https://{listed}\\@{host}:{port}/a.tif",
    "https://{listed} @{host}:{port}/a.tif",
    "https://{listed}\t@{host}:{port}/a.tif",
    "https://{listed}\r\nHost: {host}:{port}/a.tif",
    "https://{listed}%2f@{host}:{port}/a.tif",
    "https://{listed}%00.{host}:{port}/a.tif",
    "https://{listed}:{port}@{host}:{port}/a.tif",
    "https:///{host}:{port}/a.tif",
    "https:{host}:{port}/a.tif",
    "https:/{host}:{port}/a.tif",
    "https://{listed}:{port}/a.tif",
    "https://{listed}.{host}:{port}/a.tif",
    "//{host}:{port}/a.tif",
    "\\\\{host}\\a.tif",
    "/vsicurl/https://{host}:{port}/a.tif",
    "/vsicurl_streaming/http://{host}:{port}/a.tif",
    "/vsicurl?url=http%3A%2F%2F{host}%3A{port}%2Fa.tif",
    "/vsis3/../{host}:{port}/a.tif",
    "/vsizip//vsicurl/http://{host}:{port}/a.zip/a.tif",
    "/vsitar/vsicurl/http://{host}:{port}/a.tar",
    "/vsigzip//vsicurl/http://{host}:{port}/a.gz",
    "/vsisubfile/0_100,/vsicurl/http://{host}:{port}/a.tif",
    "/vsicached?file=/vsicurl/http://{host}:{port}/a.tif",
    "/vsiwebhdfs/http://{host}:{port}/webhdfs/v1/a.tif",
    "WMS:http://{host}:{port}/?SERVICE=WMS",
    "WMTS:http://{host}:{port}/?SERVICE=WMTS",
    "WCS:http://{host}:{port}/?SERVICE=WCS",
    "GTIFF_DIR:1:http://{host}:{port}/a.tif",
    "DERIVED_SUBDATASET:AMPLITUDE:http://{host}:{port}/a.tif",
    "vrt://http://{host}:{port}/a.tif",
    "STACIT:\"http://{host}:{port}/items\"",
    "STACTA:\"http://{host}:{port}/items\"",
    "PLMosaic:http://{host}:{port}",
    "<GDAL_WMS><Service name='TMS'><ServerUrl>http://{host}:{port}/</ServerUrl></Service></GDAL_WMS>",
    "<VRTDataset><VRTRasterBand><SourceFilename>/vsicurl/http://{host}:{port}/</SourceFilename>"
    "</VRTRasterBand></VRTDataset>",
    "s3://{host}:{port}/a.tif",
    "gs://{host}:{port}/a.tif",
    "az://{host}:{port}/a.tif",
)  # fmt: skip
HOSTS = ("127.0.0.1", "localhost", "[::1]")


def spellings(listed: str, port: int) -> Iterator[str]:
    """listed: a host that may be asked; port: where somebody listens on this machine."""
    for host in LOOPBACK:
        for scheme in SCHEMES[:4]:
            yield f"{scheme}://{host}:{port}/a.tif"
    for host in LOOPBACK:
        yield f"https://{host}/a.tif"
    for scheme in SCHEMES[4:]:
        yield f"{scheme}://127.0.0.1:{port}/a.tif"
    for trick in TRICKS:
        for host in HOSTS:
            yield trick.format(listed=listed, host=host, port=port)
