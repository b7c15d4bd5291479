"""What a run was prepared with, in the bucket: it sees nothing that changes later."""

from perennial.errors import DataError
from perennial.record import Record
from pipelines.kubeflow.bundle import bucket_of


class Prepared(Record):
    """A run before it executes."""

    bundle: str
    """Digest of the project's bundle."""
    parameters: dict[str, str]
    """Of its graph, as `pipelines.run` reads them."""

    def store(self, uri: str | None, run_id: str) -> str:
        """The bucket has it; returns where, for people.

        Args:
            uri: of the bucket.
            run_id: the run.

        Raises:
            SpecError: the installation has no bucket.
            PlatformError: the bucket does not answer or refuses.
        """
        bucket_of(uri).replace(_key(run_id), self.to_json().encode())
        return f"{uri}/runs/{run_id}"

    @classmethod
    def fetch(cls, uri: str | None, run_id: str) -> "Prepared":
        """What the run was prepared with.

        Args:
            uri: of the bucket.
            run_id: the run.

        Raises:
            SpecError: the installation has no bucket.
            NotFoundError: no such run was prepared.
            DataError: the object is not such a record.
            PlatformError: the bucket does not answer or refuses.
        """
        content = bucket_of(uri).get(_key(run_id))
        try:
            return cls.model_validate_json(content)
        except ValueError as error:
            raise DataError(f"{uri}/{_key(run_id)}: not what a run is prepared with: {error}") from error


def _key(run_id: str) -> str:
    return f"runs/{run_id}/prepared.json"
