"""One source of vassals, followed: events are the hint, looking again is the truth."""

import asyncio
import os
from collections.abc import Callable, Iterable

from emperor.runtime.monitors.folders import Folder, Folders
from emperor.runtime.monitors.scan import is_absence, is_fresh_file, is_held, look
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.settle import Mark, Settling
from emperor.runtime.monitors.sightings import Event, Finding, Problem, Seen
from emperor.runtime.monitors.slices import Slices
from emperor.runtime.monitors.sources import EXTENSIONS, NAME_LIMIT, Source
from emperor.runtime.monitors.sources import is_too_long, is_vassal_name
from emperor.runtime.monitors.trail import Step, Steps, trail
from emperor.runtime.monitors.watch import Hint, Watches, What
