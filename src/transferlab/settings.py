"""Project settings; see Kedro's documentation on `settings.py`."""

import os
import warnings

from transferlab.console.errors import tell_interrupts_briefly

tell_interrupts_briefly()  # first: the other imports take a second

from transferlab.config.context import ExperimentContext  # noqa: E402
from transferlab.config.loader import ExperimentConfigLoader  # noqa: E402
from transferlab.hooks.follow_up import FollowUpHooks  # noqa: E402
from transferlab.hooks.run import ProjectHooks  # noqa: E402

# Kedro's telemetry, and Kedro-Viz's, send where nobody has declined. The file `.telemetry` of a clone does; a package
# or a copy of the sources may lack it.
os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "true")

# Kedro's own use of omegaconf, and a warning about exactly the names that namespaces give to datasets.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")
# Trials in rounds, or in a cluster's queue, begin in one node, so that no strategy's namespace can run alone then.
warnings.filterwarnings(
    "ignore", message=r"Namespace '\w+' is interrupted by nodes \['(train_in_rounds|queue_trials)'\]"
)
# Kedro-Viz's own use of FastAPI, in this process and in that of its server, which loads FastAPI before this project.
warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
os.environ.setdefault("PYTHONWARNINGS", "ignore:ORJSONResponse is deprecated")

CONTEXT_CLASS = ExperimentContext
CONFIG_LOADER_CLASS = ExperimentConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    # The embedded experiment; another is chosen with --env.
    "default_run_env": "solar_cells",
    # A nested key given with --params must not lose its siblings.
    "merge_strategy": {"parameters": "soft"},
}
HOOKS = (ProjectHooks(), FollowUpHooks())
