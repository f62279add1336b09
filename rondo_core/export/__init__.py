"""What leaves the store: batches of closed buckets, cursors, and the runner that owns retry and back-off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.export import exposition as exposition
    from rondo_core.export import http as http
    from rondo_core.export import protobuf as protobuf
    from rondo_core.export.agent import Agent as Agent
    from rondo_core.export.agent_status import AgentStatus as AgentStatus
    from rondo_core.export.batch import EventRequest as EventRequest
    from rondo_core.export.connection import Connection as Connection
    from rondo_core.export.connection import HttpResponse as HttpResponse
    from rondo_core.export.cursor import cursor_names as cursor_names
    from rondo_core.export.cursor import cursor_path as cursor_path
    from rondo_core.export.cursor import load_cursor as load_cursor
    from rondo_core.export.dumping import dump as dump
    from rondo_core.export.dumping import is_dump as is_dump
    from rondo_core.export.dumping import open_dump as open_dump
    from rondo_core.export.exporters import Exporters as Exporters
    from rondo_core.export.fold import fold_dead as fold_dead
    from rondo_core.export.forecast import Forecast as Forecast
    from rondo_core.export.forecast import Refusal as Refusal
    from rondo_core.export.forecast import dry_run as dry_run
    from rondo_core.export.forecast import open_dry_run as open_dry_run
    from rondo_core.export.newest import Newest as Newest
    from rondo_core.export.newest import NewestSample as NewestSample
    from rondo_core.export.newest import newest_of as newest_of
    from rondo_core.export.options import check_exporters as check_exporters
    from rondo_core.export.options import check_runner_table as check_runner_table
    from rondo_core.export.options import runner_options as runner_options
    from rondo_core.export.outcome import Outcome as Outcome
    from rondo_core.export.receiver import ReceiverSettings as ReceiverSettings
    from rondo_core.export.receiver import check_one_credential as check_one_credential
    from rondo_core.export.receiver import read_endpoint as read_endpoint
    from rondo_core.export.receiver import read_external_labels as read_external_labels
    from rondo_core.export.runner import Runner as Runner
    from rondo_core.export.runner import open_runner as open_runner
    from rondo_core.export.status import Status as Status
    from rondo_core.export.status import export_status as export_status
    from rondo_core.export.store_state import EndedReader as EndedReader
    from rondo_core.export.store_state import read_store_state as read_store_state

_HOME = {
    "Agent": "agent",
    "AgentStatus": "agent_status",
    "HttpResponse": "connection",
    "Connection": "connection",
    "EndedReader": "store_state",
    "EventRequest": "batch",
    "Exporters": "exporters",
    "Forecast": "forecast",
    "NewestSample": "newest",
    "Newest": "newest",
    "Outcome": "outcome",
    "ReceiverSettings": "receiver",
    "Refusal": "forecast",
    "Runner": "runner",
    "Status": "status",
    "check_exporters": "options",
    "check_runner_table": "options",
    "cursor_names": "cursor",
    "cursor_path": "cursor",
    "dry_run": "forecast",
    "dump": "dumping",
    "export_status": "status",
    "exposition": "",
    "fold_dead": "fold",
    "http": "",
    "is_dump": "dumping",
    "load_cursor": "cursor",
    "read_store_state": "store_state",
    "newest_of": "newest",
    "open_dry_run": "forecast",
    "open_dump": "dumping",
    "open_runner": "runner",
    "protobuf": "",
    "check_one_credential": "receiver",
    "read_endpoint": "receiver",
    "read_external_labels": "receiver",
    "runner_options": "options",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
