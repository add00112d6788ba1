# SPDX-License-Identifier: Apache-2.0
from mezite.core.oidc.connector import ConnectorKind
from mezite.core.oidc.connector_document import parse_connector
from tests.core.oidc.documents import GITHUB, ISSUER, connector, github

HUB = "https://hub.example.com"


def test_the_redirect_url_is_the_hubs_own_unless_others_are_listed():
    assert connector(redirect_urls=None).redirect_url(HUB) == f"{HUB}/v1/webapi/oidc/callback"
    elsewhere = "https://front.example.com/v1/webapi/oidc/callback"
    assert connector(redirect_urls=[elsewhere]).redirect_url(HUB) == elsewhere
    both = connector(redirect_urls=[elsewhere, f"{HUB}/v1/webapi/oidc/callback"])
    assert both.redirect_url(HUB) == f"{HUB}/v1/webapi/oidc/callback"
    assert parse_connector(GITHUB).redirect_url(HUB) == f"{HUB}/v1/webapi/github/callback"


def test_what_identifies_the_provider():
    assert connector().provider_key == (ISSUER,)
    ghe = parse_connector(github(url="https://git.example.com/", api_url="https://git.example.com/api/v3"))
    assert ghe.provider_key == ("https://git.example.com", "https://git.example.com/api/v3")
    assert (ghe.issuer, ghe.kind) == ("https://git.example.com", ConnectorKind.GITHUB)


def test_titles():
    assert connector().title == "Company login"
    assert connector(display_name="").title == "keycloak"
