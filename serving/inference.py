"""Classify, Regress and MultiInference: signatures that take serialized `tf.Example`s and answer classes or numbers.

Refusals have the codes and texts of TensorFlow Serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format

from serving import wire
from serving.servable import DEFAULT_SIGNATURE, Code, Servable, StatusError

INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
WORDS = {CLASSIFY: "classification", REGRESS: "regression"}


class Task(NamedTuple):
    """One signature and what it is run as: `CLASSIFY` or `REGRESS`."""

    signature: str
    method: str


def run(servable: Servable, task: Task, given: Any, seconds: float | None, check: bool = False) -> Any:
    """The ClassificationResult or RegressionResult of a wire.Input.

    Args:
        check: that the signature itself says it is of that method.

    Raises:
        StatusError, tf.errors.OpError: as `Servable.predict`, and where the signature is of another kind.
    """
    definition = servable.signatures.get(task.signature)
    if definition is None:
        raise StatusError(Code.INVALID_ARGUMENT, f"No signature was found with the name: {task.signature}")
    names = outputs_of(definition, task.method, check)
    tensor = wire.encode(np.array(examples(given), object))
    return result(task.method, servable.predict(task.signature, {INPUTS: tensor}, names, seconds), count(given))


def run_several(servable: Servable, tasks: Sequence[Any], given: Any, seconds: float | None) -> list[Any]:
    """The result of each wire.InferenceTask on one wire.Input, all computed in one run of the graph.

    Raises:
        StatusError, tf.errors.OpError: as `run`.
    """
    chosen: list[tuple[Task, list[str]]] = []
    for spec, method in ((task.model_spec, task.method_name) for task in tasks):
        name = spec.signature_name or DEFAULT_SIGNATURE
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name.")
        if spec.name != tasks[0].model_spec.name:
            text = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            raise StatusError(Code.INVALID_ARGUMENT, text)
        if any(task.signature == name for task, _ in chosen):
            raise StatusError(Code.INVALID_ARGUMENT, f"Duplicate evaluation of signature: {name}")
        if name not in servable.signatures:
            raise StatusError(Code.INVALID_ARGUMENT, f"Requested signature not found in model graph: {name}")
        if method not in WORDS:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
        chosen.append((Task(name, method), outputs_of(servable.signatures[name], method)))
    tensor = wire.encode(np.array(examples(given), object))
    wanted = [(task.signature, names) for task, names in chosen]
    arrays = servable.predict_several(wanted, {INPUTS: tensor}, seconds)
    return [result(task.method, found, count(given)) for (task, _), found in zip(chosen, arrays, strict=True)]


def examples(given: Any) -> list[bytes]:
    """The serialized examples, each with the context before it: a later field stands over an earlier one."""
    if given.HasField("example_list_with_context"):
        context = given.example_list_with_context.context
        found = [context + example for example in given.example_list_with_context.examples]
    else:
        found = list(given.example_list.examples)
    if not found:
        raise StatusError(Code.INVALID_ARGUMENT, "Input is empty.")
    return found


def count(given: Any) -> int:
    """How many examples there are."""
    return len(given.example_list_with_context.examples) or len(given.example_list.examples)


def outputs_of(definition: Any, method: str, check: bool = False) -> list[str]:
    """The outputs of a signature that a method reads.

    Raises:
        StatusError: the signature is no such one.
    """
    word, shown = WORDS[method], text_format.MessageToString(definition)
    problem = ""
    if check and definition.method_name != method:
        problem = f"Expected {word} signature method_name to be {method}. Was: {definition.method_name}"
    elif len(definition.inputs) != 1:
        problem = "Expected one input Tensor."
    elif method == CLASSIFY and len(definition.outputs) not in (1, 2):
        problem = f"Expected one or two output Tensors, found {len(definition.outputs)}"
    elif method == REGRESS and len(definition.outputs) != 1:
        problem = "Expected one output Tensor."
    elif INPUTS not in definition.inputs:
        problem = f"No {word} inputs found in SignatureDef: {shown}"
    names = [name for name in ((CLASSES, SCORES) if method == CLASSIFY else (OUTPUTS,)) if name in definition.outputs]
    if not problem and not names and method == CLASSIFY:
        problem = "Expected classification signature outputs to contain at least one of "
        problem += f'"{CLASSES}" or "{SCORES}". Signature was: {shown}'
    elif not problem and not names:
        problem = f"No {word} outputs found in SignatureDef: {shown}"
    if problem:
        raise StatusError(Code.INVALID_ARGUMENT, problem)
    return names


def result(method: str, arrays: Mapping[str, np.ndarray], rows: int) -> Any:
    """The message of a method's outputs.

    Raises:
        StatusError: they have another shape or type than the method's.
    """
    return _classes(arrays, rows) if method == CLASSIFY else _numbers(arrays[OUTPUTS], rows)


def _classes(arrays: Mapping[str, np.ndarray], rows: int) -> Any:
    for name, number in ((CLASSES, 7), (SCORES, 1)):
        if name in arrays:
            _check_classes(name, arrays[name], wire.DTYPES[number].name, rows)
    sizes = [array.shape[1] for array in arrays.values()]
    if len(set(sizes)) > 1:
        text = f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}"
        raise StatusError(Code.INVALID_ARGUMENT, text)
    answer = wire.ClassificationResult()
    for row in range(rows):
        classes = answer.classifications.add().classes
        for column in range(sizes[0]):
            known = classes.add()
            if CLASSES in arrays:
                known.label = arrays[CLASSES][row, column].decode("utf-8", "replace")
            if SCORES in arrays:
                known.score = arrays[SCORES][row, column]
    return answer


def _check_classes(name: str, array: np.ndarray, dtype: str, rows: int) -> None:
    found = wire.type_of(array).name
    if array.ndim != 2:
        text = f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
    elif found != dtype:
        text = f"Expected {name} Tensor of {dtype}. Got: {found}"
    elif len(array) != rows:
        text = f"Expected {name} output batch size of {rows}. Got: {len(array)}"
    else:
        return
    raise StatusError(Code.INVALID_ARGUMENT, text)


def _numbers(array: np.ndarray, rows: int) -> Any:
    found = wire.type_of(array).name
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        text = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(array)
    elif len(array) != rows:
        text = f"Input batch size did not match output batch size: {rows} vs. {len(array)}"
    elif found != "DT_FLOAT":
        text = f"Expected output Tensor of DT_FLOAT.  Got: {found}"
    else:
        return wire.RegressionResult(regressions=[wire.Regression(value=x) for x in array.ravel().tolist()])
    raise StatusError(Code.INVALID_ARGUMENT, text)


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
