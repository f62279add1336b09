"""Which version of the protocol a receiver is sent, and what its answers mean for the samples of a batch.

`auto` begins with 2.0. A receiver that does not know it says so with 415, or takes the request for one of 1.0 that
holds nothing: it answers 2xx without the headers that 2.0 demands, and has stored nothing. In both cases the same batch
goes out again as 1.0, and so does everything after it. Until a receiver has shown that it stores native histograms,
they go in a request of their own, behind the samples: one that cannot store them refuses all of a request, with 500.
"""

from __future__ import annotations

import logging

from rondo_core import Batch
from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import ExportError, ReceiverAwayError
from rondo_core.export.http import NOT_NOW, REFUSED, error_of
from rondo_exporter_prometheus.columns import LabelSets
from rondo_exporter_prometheus.encode import Encoder
from rondo_exporter_prometheus.encode2 import Encoder2, WriteRequest
from rondo_exporter_prometheus.http import Poster, RemoteWriteResponse
from rondo_exporter_prometheus.plugin import Settings

logger = logging.getLogger("rondo.export.prometheus")

UNSUPPORTED = 415
# What a receiver that never heard of 2.0 may answer to it, but for 415.
_NOT_UNDERSTOOD = frozenset({400, 406})
_AWAY = frozenset({502, 503, 504})
HISTOGRAM_ATTEMPTS = 3


class RemoteWrite:
    """Takes batches to one receiver.

    Attributes:
        protocol: what is sent now, "1.0" or "2.0".
        refused_samples: how many samples and histograms a receiver of 2.0 refused out of requests of which it wrote
            the rest.
    """

    def __init__(self, settings: Settings, clock: Clock = wall_ns) -> None:
        """Make the session; the connection is made by the first batch.

        Raises: UsageError: the bearer token's file cannot be read, or holds no token.
        """
        self._settings, self._poster = settings, Poster(settings, clock)
        label_sets = self._label_sets = LabelSets(settings.external_labels)
        zeroes = settings.zeroes
        self._encoder, self._encoder2 = Encoder(label_sets, zeroes=zeroes), Encoder2(label_sets, zeroes=zeroes)
        self.protocol = "1.0" if settings.protocol == "1.0" else "2.0"
        self.refused_samples = 0
        self._speaks_2 = False
        self._histograms: bool | None = None  # stored, refused, or not known yet
        self._attempts, self._taken = 0, b""
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        """Name the receiver, and nothing that is secret."""
        return f"RemoteWrite({self._settings.endpoint.shown_url!r})"

    def send(self, batch: Batch) -> int:
        """Deliver the batch.

        Returns: how many samples were left out, because another series has their name or none may have it, and how many
        a receiver of 2.0 refused while it took the rest.
        Raises: ReceiverAwayError, AnswerLostError: no connection, no answer; RetryableExportError: 408, 425, 429 or
        5xx; PermanentExportError: 400, 409 or 422; BatchTooLargeError: 413, or more than `max_bytes`; ExportError: any
        other status but 2xx, a certificate that is not trusted, or the exporter was closed.
        """
        before = self.refused_samples
        if not (self.protocol == "2.0" and self._send_2(batch)) and (message := self._encoder.encode(batch)):
            _judge(self._poster.post(message, "1.0"))
        refused = self.refused_samples - before + self._label_sets.n_left_out(batch)
        self._label_sets.forget(batch.ended)
        return min(refused, batch.n_samples) if refused else 0

    def close(self) -> None:
        """Release the connection."""
        self._poster.close()

    def _send_2(self, batch: Batch) -> bool:
        """Deliver the batch as 2.0; give False where the receiver does not speak it, after which 1.0 is spoken."""
        if self._histograms is not None:
            request = self._encoder2.encode(batch, histograms=self._histograms)
            return not request.body or self._deliver_2(request)
        request = self._encoder2.encode(batch, histograms=False)
        # Samples that were taken do not go out again while the histograms behind them are retried.
        if request.body and request.body != self._taken and not self._deliver_2(request):
            return False
        alone = self._encoder2.encode(batch, samples=False)
        if alone.body and self._speaks_2:
            self._taken = request.body
            self._try_histograms(alone)
        self._taken = b""
        return True

    def _deliver_2(self, request: WriteRequest) -> bool:
        answer = self._poster.post(request.body, "2.0")
        if answer.written is not None and (self._speaks_2 or answer.status >= 300 or any(answer.written)):
            self._speaks_2 = True
            self._count(request, answer, answer.written)
            return True
        if answer.status == UNSUPPORTED or 200 <= answer.status < 300 or self._never_heard_of_it(answer):
            if self._settings.protocol == "2.0":
                raise ExportError(f"{answer.said}; it does not speak remote-write 2.0, set protocol to auto or 1.0")
            logger.info("%s: it does not speak remote-write 2.0, and is sent 1.0", self._settings.endpoint.shown_url)
            self.protocol = "1.0"
            return False
        _judge(answer)
        return True

    def _never_heard_of_it(self, answer: RemoteWriteResponse) -> bool:
        return not self._speaks_2 and answer.status in _NOT_UNDERSTOOD

    def _count(self, request: WriteRequest, answer: RemoteWriteResponse, written: tuple[int, int]) -> None:
        """Compare what was written with what was sent.

        A receiver of 2.0 writes what it can of a request that it answers with 400: to send that again would be wrong,
        and so would be to split it.
        """
        missing = max(0, request.n_samples - written[0]) + max(0, request.n_histograms - written[1])
        if answer.status not in REFUSED or not any(written):
            _judge(answer)
        if missing:
            self.refused_samples += missing
            self._warn("refused", f"{answer.said}: it wrote all but {missing} of the request; those are dropped")

    def _try_histograms(self, request: WriteRequest) -> None:
        """Send histograms to a receiver that may not store them; without them nothing else is missing.

        A receiver that cannot answers 500, as one does that has another trouble: it is asked a few times.
        """
        answer = self._poster.post(request.body, "2.0")
        if answer.written is not None and answer.written[1]:
            self._histograms = True
            self._count(request, answer, answer.written)
            return
        self._attempts += answer.status not in NOT_NOW | _AWAY
        if answer.status in NOT_NOW or (answer.status >= 500 and self._attempts < HISTOGRAM_ATTEMPTS):
            # Its samples are taken, and must not come again in other requests: it is not to be looked into.
            raise ReceiverAwayError(answer.said, answer.retry_after_s)
        self._histograms = False
        self._warn("histograms", f"{answer.said}: native histograms are not stored there, and are not sent any more")

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s", message)


def _judge(answer: RemoteWriteResponse) -> None:
    """Turn a status into an error, or into none."""
    error = error_of(answer.status, answer.said, answer.retry_after_s)
    if error is not None:
        raise error
