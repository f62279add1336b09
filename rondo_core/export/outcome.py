"""What an exporter has done so far, in numbers and in words."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.record import selfmetrics


@attrs.frozen
class Outcome:
    """What an exporter has done since its runner was made: counts, and the last failure in words (empty: none).

    The counts of samples and buckets are those of its cursor, less what they were then.

    Attributes:
        takes_samples, takes_events: what the exporter takes at all.
        samples: acknowledged; retried_samples: sent again because it was not known whether they had arrived.
        requests, failures: sent, and of these not taken; send_s: the time spent in them, s.
        refused_samples: refused for good; doubtful_samples: may have arrived, and were refused when sent again.
        held_series: series that wait, because the receiver answers not now to them while it takes others.
        overwritten_buckets: given away by the ring before they were sent; coarse_buckets: windows of coarser tiers that
            were sent in their place.
        resumed_buckets: sent as the last of a run, and then recorded into again by the next run.
        acknowledged_ns: the newest timestamp that was acknowledged, ns since the epoch; 0 for none yet.
        retry_s: when to try again, s from the last try; 0 where nothing is to be tried again.
        events, refused_events, doubtful_events, overwritten_events: the same of marks and notes.
        stopped: given up: the receiver cannot be used, or takes nothing; what is left stays in the store.
    """

    samples: int = 0
    requests: int = 0
    failures: int = 0
    refused_samples: int = 0
    overwritten_buckets: int = 0
    error: str = ""
    stopped: bool = False
    retried_samples: int = 0
    doubtful_samples: int = 0
    coarse_buckets: int = 0
    resumed_buckets: int = 0
    held_series: int = 0
    acknowledged_ns: int = 0
    send_s: float = 0.0
    retry_s: float = 0.0
    events: int = 0
    refused_events: int = 0
    doubtful_events: int = 0
    overwritten_events: int = 0
    takes_samples: bool = True
    takes_events: bool = False

    @property
    def n_sent(self) -> int:
        """Count what was acknowledged, samples, marks and notes."""
        return self.samples + self.events

    def publish(self, count: Callable[..., None], exporter: str) -> None:
        """Hand the counts on as self-metrics; what has not happened yet takes no series, but for the samples sent."""
        for metric, total in (
            (selfmetrics.EXPORTED, self.samples),
            (selfmetrics.EXPORT_REQUESTS, self.requests),
            (selfmetrics.EXPORT_SECONDS, self.send_s),
            (selfmetrics.EXPORT_ACKNOWLEDGED, self.acknowledged_ns / NS_PER_S),
            (selfmetrics.EXPORT_FAILURES, self.failures),
            (selfmetrics.EXPORT_RETRIED, self.retried_samples),
            (selfmetrics.EXPORT_REFUSED, self.refused_samples),
            (selfmetrics.EXPORT_DOUBTFUL, self.doubtful_samples),
            (selfmetrics.EXPORT_LOST, self.overwritten_buckets),
            (selfmetrics.EXPORT_COARSE, self.coarse_buckets),
        ):
            if total or metric == selfmetrics.EXPORTED:
                count(metric, total, exporter=exporter)
