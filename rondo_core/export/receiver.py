"""A receiver by HTTP, as an exporter's config names it: how it is reached, and what proves who sends."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlunsplit

import attrs

from rondo_core.errors import LabelError, RetryableExportError, UsageError
from rondo_core.export.http import Endpoint, check_proxy, check_url, presentable, read_token
from rondo_core.model.labels import Labels, canonical_labels


@attrs.frozen(kw_only=True)
class ReceiverSettings:
    """Where to send, and as whom.

    Attributes:
        endpoint: the receiver's URL, and how it is reached.
        headers: further ones; values are nobody's business.
        bearer_token, bearer_token_file, username, password: at most one way to prove who sends; empty: none.
        named_in: what the config calls the token's file.
    """

    endpoint: Endpoint
    headers: Mapping[str, str] = attrs.field(repr=False)
    bearer_token: str = attrs.field(repr=False)
    bearer_token_file: str
    username: str = attrs.field(repr=False)
    password: str = attrs.field(repr=False)
    named_in: str = "bearer_token_file"

    def authorization(self) -> dict[str, str]:
        """Give the header, if there is one; a token's file is read anew each time, as tokens are rotated.

        Raises: RetryableExportError: the file cannot be read now, or holds no token.
        """
        token = read_token(self.bearer_token_file, self.named_in) if self.bearer_token_file else self.bearer_token
        if token:
            return {"Authorization": f"Bearer {token}"}
        if self.username or self.password:
            pair = f"{self.username}:{self.password}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
        return {}

    def check_authorization(self) -> None:
        """Look whether there is what proves who sends. Raises: UsageError: the token's file does not hold one."""
        try:
            self.authorization()
        except RetryableExportError as error:
            raise UsageError(str(error)) from None

    def presentable(self, text: str, authorization: Mapping[str, str]) -> str:
        """Put what the receiver said to a request with this authorization on one line, without credentials."""
        sent = authorization.get("Authorization", "").partition(" ")[2]
        secrets = (self.bearer_token, self.username, self.password, sent)
        return presentable(text, secrets, self.headers, self.endpoint.url.geturl())


def read_endpoint(option: str, config: Mapping[str, Any], example: str) -> tuple[Endpoint, str, str]:
    """Read how a receiver is reached from a config; give the user and the password that its URL holds, too.

    Args: `option`: the key of the URL; `example`: such a URL. Keys that the config does not have are not given.
    Raises: UsageError: names the key, and no credential.
    """
    parts = check_url(option, config[option], example)
    user, _, secret = parts.netloc.rpartition("@")[0].partition(":")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    endpoint = Endpoint(
        bare,
        urlunsplit(bare._replace(query="")),
        config["timeout"],
        config.get("ca_file", ""),
        config.get("client_certificate", ""),
        config.get("client_key", ""),
        config.get("insecure", False),
        check_proxy(config.get("proxy", "")),
    )
    return endpoint, unquote(user), unquote(secret)


def check_one_credential(
    option: str, in_url: str, config: Mapping[str, Any], token: str, headers: Iterable[str]
) -> None:
    """Look that there is one way at most to prove who sends.

    Args: `option`: the key of the URL; `in_url`: what that holds of it; `token`: the key of the token, whose file's is
        `token` with _file; `headers`: the names of further ones.
    Raises: UsageError: names the keys, and no credential.
    """
    ways = {
        option: in_url,
        token: config[token],
        f"{token}_file": config[f"{token}_file"],
        "headers": any(name.lower() == "authorization" for name in headers),
    }
    given = [name for name, there in ways.items() if there]
    if len(given) > 1:
        raise UsageError(f"{', '.join(given)}: each holds credentials; keep one")


def read_external_labels(given: Mapping[str, str]) -> Labels:
    """Read what everything gets on its way out. Raises: UsageError: a name or a value is wrong."""
    try:
        return canonical_labels(given)
    except LabelError as error:
        raise UsageError(f"external_labels: {error}") from None
