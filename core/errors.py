"""The tree of errors.

HopsmeterError
├── SettingsFault        a setting is missing or wrong
├── InputFault           what a person or a file gave us cannot be used
│   ├── Unknown          it names something that does not exist
│   └── Conflict         it contradicts what is there
├── Forbidden            this person may not do this
├── SecretFault          a secret cannot be sealed, opened or found
├── KubeconfigRefused    a kubeconfig that we do not take, and why
├── ClusterFault         a cluster could not be asked, at which step, and the cure
│   ├── ClusterTimeout   it gave no answer before the deadline
│   └── SourceGone       the source says that it no longer has the hour
├── AnswerRefused        OpenCost answered, but the answer cannot be believed
├── StripeFault          Stripe did not do what was asked
│   ├── StripeAway       it gave no answer, or asks for patience: tried again
│   ├── StripeRefused    it will not do this, for this account: parked until somebody looks
│   └── StripeStopped    it will do nothing for us: the key, another account, an archived meter
├── PostingStuck         days whose figures nobody can add up; the others are posted
├── LeaseLost            somebody else works on it now; our work was rolled back
└── DatabaseFault        the database is away, or of another version
    ├── DatabaseReadOnly it may be read, and takes no writes
    └── SchemaMismatch   its schema is older or newer than this program

A class's docstring is its default message: one sentence to an operator, what happened and what
to do. The class holds the data. Raised for what is expected to go wrong; an assert marks a bug.
"""

import traceback


class HopsmeterError(Exception):
    """Something went wrong that this program foresaw."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip()
        super().__init__(self.message)


class SettingsFault(HopsmeterError):
    """A setting is missing or wrong; correct it and start again."""


class InputFault(HopsmeterError):
    """What was given cannot be used; correct it and try again. Nothing was changed."""


class Unknown(InputFault):
    """There is nothing of that name; list what there is, and try again. Nothing was changed."""


class Conflict(InputFault):
    """This contradicts what is already there. Nothing was changed."""


class Forbidden(HopsmeterError):
    """You may not do this; ask an admin. Nothing was changed."""


class SecretFault(HopsmeterError):
    """A secret cannot be opened; check the keyring with `hopsmeter secrets status`."""


class KubeconfigRefused(InputFault):
    """This kubeconfig is not one that hopsmeter takes; see docs/cluster-setup.md."""

    def __init__(self, fault: str, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class ClusterFault(HopsmeterError):
    """The cluster could not be asked; it will be tried again."""

    def __init__(self, cluster: str, step: str, message: str, cure: str = "") -> None:
        self.cluster, self.step, self.cure = cluster, step, cure
        self.said = message if message.endswith((".", "!", "?")) else f"{message}."
        super().__init__(f"{cluster}, {step}: {self.said}" + (f" {cure}" if cure else ""))


class ClusterTimeout(ClusterFault):
    """The cluster gave no answer before the deadline; it will be tried again."""


class SourceGone(ClusterFault):
    """OpenCost no longer has this hour; it is kept as a gap, never as zero."""


class AnswerRefused(HopsmeterError):
    """OpenCost's answer cannot be believed; see `hopsmeter hours` for the reason and the way out."""

    def __init__(self, fault: str, message: str, *, structural: bool) -> None:
        self.fault, self.structural = fault, structural
        super().__init__(message)


class StripeFault(HopsmeterError):
    """Stripe did not do what was asked."""

    def __init__(self, message: str | None = None, *, code: str = "", request: str = "") -> None:
        self.code, self.request = code, request
        super().__init__(message)


class StripeAway(StripeFault):
    """Stripe gave no answer, or asks for patience; it is asked again."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "",
        request: str = "",
        maybe_done: bool = True,
        answered: bool = False,
    ) -> None:
        self.maybe_done = maybe_done
        """Whether it may have done what was asked all the same: its answer was lost."""
        self.answered = answered
        """Whether it said that it failed, which it says again to the same idempotency key."""
        super().__init__(message, code=code, request=request)


class StripeRefused(StripeFault):
    """Stripe will not do this, and would not the next time; see why, mend it, and try again."""


class StripeStopped(StripeFault):
    """Stripe will do nothing for us; see `hopsmeter stripe show` and `hopsmeter doctor`."""


class PostingStuck(HopsmeterError):
    """Days cannot be posted; the others are. `hopsmeter books check` names the hours."""


class LeaseLost(HopsmeterError):
    """Another worker took this over; what we did was rolled back and nothing is lost."""


class DatabaseFault(HopsmeterError):
    """The database cannot be used; check HOPSMETER_DATABASE_URL and that the server runs."""


class DatabaseReadOnly(DatabaseFault):
    """The database takes no writes: it is a standby, or its disk is full; `hopsmeter doctor` has the cure."""


class SchemaMismatch(DatabaseFault):
    """The database schema is of another version; run `hopsmeter db upgrade`."""


def place_of(bug: BaseException) -> str:
    """Return types and places only: messages of databases and parsers quote values."""
    frames = traceback.extract_tb(bug.__traceback__)
    places = " < ".join(f"{frame.name} {frame.filename}:{frame.lineno}" for frame in frames[::-1])
    return f"{type(bug).__module__}.{type(bug).__name__} at {places}"
