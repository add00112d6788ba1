# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mezite.core.wrong_doors import Answer, Door, client_advice, is_certain, tunnel_port_hint


def test_every_answer_has_words_for_every_door() -> None:
    for wanted in Door:
        for answer in Answer:
            advice = client_advice(wanted, answer, setting="SETTING", port=4711)
            assert advice.why
            assert "\n" not in advice.why + advice.hint
            assert "SETTING" in advice.hint or "hub's log" in advice.hint


@pytest.mark.parametrize("answer", [Answer.WEB, Answer.OTHER_HTTPS])
def test_an_agent_at_the_https_port(answer: Answer) -> None:
    """The product page's first troubleshooting entry."""
    advice = client_advice(Door.TUNNEL, answer, setting="MEZITE_PROXY_ADDR", port=443)
    assert advice.hint == "MEZITE_PROXY_ADDR must point to the tunnel port (3024), not the HTTPS port (443)"


def test_the_right_door_that_refuses() -> None:
    advice = client_advice(Door.TUNNEL, Answer.TUNNEL, setting="MEZITE_PROXY_ADDR", port=3024)
    assert "hub's log" in advice.hint


def test_another_web_server() -> None:
    advice = client_advice(Door.WEB, Answer.OTHER_HTTPS, setting="--proxy", port=443)
    assert advice.hint.endswith("a load balancer must forward its 443 to the hub's 3080")


def test_tls_that_a_balancer_ends() -> None:
    advice = client_advice(Door.TUNNEL, Answer.TLS, setting="MEZITE_PROXY_ADDR", port=3024)
    assert "MEZITE_TLS_WRAP=true" in advice.hint


@pytest.mark.parametrize("answer", [Answer.OTHER_HTTPS, Answer.TLS, Answer.HTTP])
def test_a_balancer_without_http2_before_the_grpc_port(answer: Answer) -> None:
    """The product page's other two entries."""
    advice = client_advice(Door.GRPC, answer, setting="--auth-server", port=3025)
    assert advice.why.endswith("without HTTP/2")
    assert "gRPC/h2c" in advice.hint
    assert "MEZITE_AUTH_H2C=true" in advice.hint


@pytest.mark.parametrize("answer", [Answer.CLOSED, Answer.SILENT])
def test_nothing_is_said(answer: Answer) -> None:
    advice = client_advice(Door.SSH, answer, setting="the hub's SSH address", port=22)
    assert "let it forward port 3023 to the hub's 3023" in advice.hint


def test_what_is_certainly_not_the_port() -> None:
    certain = {answer for answer in Answer if is_certain(Door.SSH, answer)}
    assert certain == {
        Answer.WEB,
        Answer.OTHER_HTTPS,
        Answer.GRPC,
        Answer.TUNNEL,
        Answer.HTTP,
        Answer.PLAIN,
    }


def test_the_log_of_an_agent() -> None:
    assert tunnel_port_hint("mezite.example.com:443").startswith(
        "MEZITE_PROXY_ADDR (proxy_addr) must point to the tunnel port (3024), not the HTTPS port (443); "
    )
    for address in ("mezite.example.com", "mezite.example.com:3024"):
        assert "not the HTTPS port; `mezd doctor`" in tunnel_port_hint(address)
