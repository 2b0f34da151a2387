"""Draw settings with Optuna's tree-structured Parzen estimator, one trial after the other."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from catena.errors import ConfigError
from catena.segmentation.config import FragmentsConfig
from catena.tuning.config import OF_METHOD, TuneConfig
from catena.tuning.trials import Results, Trial, TrialStore

Score = Callable[[FragmentsConfig], Results]
Tell = Callable[[Trial, int], None]


def search(
    store: TrialStore,
    study: str,
    space: TuneConfig,
    fragments: FragmentsConfig,
    score: Score,
    *,
    seed: int = 0,
    tell: Tell | None = None,
) -> list[Trial]:
    """Try settings of fragments until there are ``space.trials``; those that `store` has are not tried again.

    Trial i is a function of `seed`, i and the trials before it: a search that was killed and started again, and one
    that was told to try more, make the same trials as one that ran through.

    Parameters
    ----------
    study
        Names in `store` everything that scores depend on.
    space
        What is tried; its `methods` are given.
    fragments
        Settings that are not tried; they themselves are scored first, as trial -1.
    score
        Segments, and scores every merge function.
    tell
        Called with each finished trial and how many there are to be.

    Raises
    ------
    ConfigError
        If Optuna is not installed.
    """
    optuna = import_optuna()
    done = store.read(study)
    known = {_key(trial.settings): trial for trial in done}
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    if not done:
        done.append(_made(store, study, -1, {}, fragments, known, score))
    for trial in done[1:]:
        memory.add_trial(_as_optuna(optuna, trial, space))
    done = done[: space.trials + 1]
    for number in range(len(done) - 1, space.trials):
        memory.sampler = optuna.samplers.TPESampler(
            seed=zlib.crc32(f"{seed} {number}".encode()), n_startup_trials=space.random_trials
        )
        asked = memory.ask()
        drawn = draw(asked, space)
        trial = _made(store, study, number, drawn, chosen(drawn, fragments), known, score)
        memory.tell(asked, trial.value)
        done.append(trial)
        if tell is not None:
            tell(trial, space.trials)
    return done


def import_optuna() -> ModuleType:
    """Return Optuna, which tells nothing of every trial.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tuning needs Optuna, which is not installed: pip install 'catena-em[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    module: ModuleType = optuna
    return module


def draw(asked: Any, space: TuneConfig) -> dict[str, Any]:
    """Let Optuna draw a method and the settings that it has; names of settings begin with the method's."""
    method = asked.suggest_categorical("method", list(space.methods or ()))
    for name in OF_METHOD[method]:
        low, high = getattr(space, name)
        suggest = asked.suggest_int if isinstance(low, int) else asked.suggest_float
        suggest(f"{method}.{name}", low, high)
    return dict(asked.params)


def chosen(drawn: Mapping[str, Any], fragments: FragmentsConfig) -> FragmentsConfig:
    """Return the settings of fragments that were drawn, to two decimals; those not drawn as in `fragments`."""
    method = drawn["method"]
    values = {name.removeprefix(f"{method}."): value for name, value in drawn.items()}
    others = {name for names in OF_METHOD.values() for name in names} - set(OF_METHOD[method])
    kept = {name: getattr(fragments, name) for name in FragmentsConfig.model_fields if name not in others}
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in values.items()}
    return FragmentsConfig.parse({**kept, **rounded}, "tune")


def _made(
    store: TrialStore,
    study: str,
    number: int,
    drawn: Mapping[str, Any],
    fragments: FragmentsConfig,
    known: dict[str, Trial],
    score: Score,
) -> Trial:
    """Score settings, unless they were scored before, and keep what came of it."""
    settings = fragments.result_settings()
    begin = time.monotonic()
    before = known.get(_key(settings))
    results = score(fragments) if before is None else before.results
    trial = Trial(number, drawn, settings, results, time.monotonic() - begin)
    store.write(study, trial)
    known[_key(settings)] = trial
    return trial


def _key(settings: Mapping[str, Any]) -> str:
    return repr(sorted((name, _plain(value)) for name, value in settings.items()))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _as_optuna(optuna: ModuleType, trial: Trial, space: TuneConfig) -> Any:
    """Return a finished trial as if it had been drawn just now."""
    distributions: dict[str, Any] = {"method": optuna.distributions.CategoricalDistribution(list(space.methods or ()))}
    for name in trial.drawn:
        if name != "method":
            low, high = getattr(space, name.partition(".")[2])
            whole = isinstance(low, int)
            kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
            distributions[name] = kind(low, high)
    return optuna.trial.create_trial(params=dict(trial.drawn), distributions=distributions, value=trial.value)
