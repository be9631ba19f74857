"""The procedures of TensorFlow Serving, from a request to a response; gRPC and REST both call these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serving import inference, wire
from serving.health import Health
from serving.memory import Memory, weight
from serving.metrics import Metrics
from serving.models import Models
from serving.servable import DEFAULT_SIGNATURE, Code, Servable, StatusError, status_of


class Services:
    """The procedures; each takes the seconds that are left for it, None for any number.

    Args:
        models: what is served.
        metrics: where requests are counted.
        check_method: Classify and Regress take only signatures that say they are of that method.
        content: answers hold their numbers as one block of bytes.
        memory: what requests may need, of all together.
    """

    def __init__(
        self,
        models: Models,
        metrics: Metrics | None = None,
        *,
        check_method: bool = False,
        content: bool = False,
        memory: int = 0,
    ):
        self.models = models
        self.metrics = metrics or Metrics()
        self.memory = Memory(memory)
        self.health = Health(models.available)
        self._check_method, self._content = check_method, content

    def predict(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        with self._counted(request, "Predict", entry) as found:
            servable, version = found()
            signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            needed = weight(request, request.inputs)
            with self.memory.hold(needed), self._timed(request.model_spec.name, "Predict"):
                arrays = servable.predict(signature, request.inputs, request.output_filter, seconds)
            response = wire.PredictResponse()
            _name(response.model_spec, request.model_spec, version)
            for name, array in arrays.items():
                response.outputs[name].CopyFrom(wire.encode(array, content=self._content))
            return response

    def classify(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        return self._infer(request, wire.ClassificationResponse(), inference.CLASSIFY, "Classify", seconds, entry)

    def regress(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        return self._infer(request, wire.RegressionResponse(), inference.REGRESS, "Regress", seconds, entry)

    def _infer(self, request: Any, response: Any, method: str, api: str, seconds: float | None, entry: str) -> Any:
        with self._counted(request, api, entry) as found:
            servable, version = found()
            task = inference.Task(request.model_spec.signature_name or DEFAULT_SIGNATURE, method)
            with self.memory.hold(weight(request)), self._timed(request.model_spec.name, api):
                result = inference.run(servable, task, request.input, seconds, self._check_method)
            response.result.CopyFrom(result)
            _name(response.model_spec, request.model_spec, version)
            self._count_examples(request.model_spec.name, request.input)
            return response

    def multi_inference(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        tasks = list(request.tasks)
        spec = tasks[0].model_spec if tasks else wire.ModelSpec()
        servable, version = self.models.lookup(spec)
        response = wire.MultiInferenceResponse()
        with self.memory.hold(weight(request)):
            results = inference.run_several(servable, tasks, request.input, seconds)
        for task, result in zip(tasks, results, strict=True):
            entry_of = response.results.add()
            kind = inference.WORDS[task.method_name]
            getattr(entry_of, f"{kind}_result").CopyFrom(result)
            _name(entry_of.model_spec, task.model_spec, version)
        self._count_examples(spec.name, request.input)
        return response

    def metadata(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        _require_spec(request)
        if not request.metadata_field:
            text = "GetModelMetadataRequest must specify at least one metadata_field"
            raise StatusError(Code.INVALID_ARGUMENT, text)
        for name in request.metadata_field:
            if name != "signature_def":
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {name} is not supported")
        servable, version = self.models.lookup(request.model_spec)
        response = wire.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = wire.SignatureDefMap(signature_def=servable.signatures)
        response.metadata["signature_def"].type_url = wire.SIGNATURES_URL
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    def status(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        _require_spec(request)
        response = wire.GetModelStatusResponse()
        for number, version in self.models.status(request.model_spec):
            known = response.model_version_status.add(version=number, state=version.state)
            known.status.error_code, known.status.error_message = version.code, version.message
        return response

    def reload(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        if not request.config.HasField("model_config_list"):
            text = "ServerModelConfig type not supported by HandleReloadConfigRequest."
            raise StatusError(Code.INVALID_ARGUMENT, f"{text} Only ModelConfigList is currently supported")
        self.models.configure(list(request.config.model_config_list.config))
        response = wire.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def all(self) -> dict[wire.Method, Callable[..., Any]]:
        """Each procedure's function."""
        return {
            wire.PREDICT: self.predict,
            wire.CLASSIFY: self.classify,
            wire.REGRESS: self.regress,
            wire.MULTI_INFERENCE: self.multi_inference,
            wire.METADATA: self.metadata,
            wire.STATUS: self.status,
            wire.RELOAD: self.reload,
            wire.HEALTH: self.health.check,
        }

    @contextmanager
    def _counted(
        self, request: Any, api: str, entry: str
    ) -> Iterator[Callable[[], tuple[Servable, int]]]:  # what looks the servable up
        """A block that answers a request: counted by its status and, where it succeeds, by its time."""
        started, spec, found = time.perf_counter(), request.model_spec, {"version": ""}

        def lookup() -> tuple[Servable, int]:
            _require_spec(request)
            servable, version = self.models.lookup(spec)
            found["version"] = str(version)
            return servable, version

        self.metrics.in_flight.add()
        status = "OK"
        try:
            yield lookup
        except Exception as error:
            status = status_of(error)[0].name
            raise
        finally:
            self.metrics.in_flight.add(by=-1)
            microseconds = (time.perf_counter() - started) * 1e6
            signature = spec.signature_name or DEFAULT_SIGNATURE
            known = spec.name in self.models.available()  # else anyone could make up names without end
            self.metrics.requests.add(spec.name if known else "", status)
            if found["version"]:
                named = (spec.name, found["version"], signature if status == "OK" else "")
                self.metrics.by_signature.add(*named, status)
            if status == "OK":
                api = api if entry == "GRPC" else api.lower()
                self.metrics.latency.add(spec.name, api, entry, value=microseconds)
                self.metrics.signature_latency.add(spec.name, found["version"], signature, value=microseconds)

    @contextmanager
    def _timed(self, model: str, api: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.metrics.runtime.add(model, api, "TF1", value=(time.perf_counter() - started) * 1e6)

    def _count_examples(self, model: str, given: Any) -> None:
        count = inference.count(given)
        self.metrics.examples.add(model, value=count)
        self.metrics.examples_total.add(model, by=count)


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")


def _name(spec: Any, asked: Any, version: int) -> None:
    """Fills the ModelSpec of a response."""
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = version
