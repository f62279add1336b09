"""A look at marks and notes as they would be sent: how large the requests are, and which tags would not be whole."""

from __future__ import annotations

from rondo_core.export import EventRequest, Forecast
from rondo_exporter_grafana.encode import annotation_of
from rondo_exporter_grafana.plugin import Settings

_SHOWN = 3


class GrafanaDryRun:
    """Makes the annotations, and sends none."""

    def __init__(self, settings: Settings) -> None:
        """Look at nothing yet."""
        self._settings, self._sent_bytes, self._n_events = settings, 0, 0
        self._cut = dict[str, None]()

    def send_event(self, request: EventRequest) -> None:
        """Look at a mark or a note."""
        annotation = annotation_of(request, self._settings)
        self._sent_bytes += len(annotation.body(self._settings.dashboard_uid))
        self._n_events += bool(annotation.cut)
        self._cut.update(dict.fromkeys(annotation.cut))

    def forecast(self) -> Forecast:
        """Give the bytes of all requests, and which tags are cut or left out."""
        if not self._cut:
            return Forecast(self._sent_bytes)
        names = ", ".join([*self._cut][:_SHOWN]) + (", ..." if len(self._cut) > _SHOWN else "")
        limits = f"a second colon, 100 characters of a name or a value, {self._settings.tags_bytes} bytes in all"
        what = (
            f"tags of {self._n_events} marks and notes are cut or left out ({limits}); their texts are whole: {names}"
        )
        return Forecast(self._sent_bytes, notes=(what,))

    def close(self) -> None:
        """Hold nothing."""
