"""The files of deployment: each is parsed, against the messages, flags and metrics that it speaks of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2
from test_options import UPSTREAM
from toys import publish

from serving import wire
from serving.batching import Parameters
from serving.metrics import Metrics
from serving.options import batching_parameters, options_of, parser, read_config
from serving.server import Server

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"
IMAGE = re.compile(r"tensorflow/serving:\d+\.\d+\.\d+(-gpu)?")
METRIC = re.compile(r":[a-z]+:serving:[a-z_:]+")


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def workloads() -> dict[str, dict]:
    return {document["kind"]: document for document in documents("kubernetes.yaml")}


def commands() -> list[list[str]]:
    services = documents("compose.yaml")[0]["services"]
    container = workloads()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return [*(service["command"] for service in services.values()), container["args"]]


def test_configurations_against_their_messages():
    official = text_format.Parse((DEPLOY / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    (config,) = official.model_config_list.config
    assert (config.name, config.base_path, config.version_labels["stable"]) == ("ocr", "/models/ocr", 1)
    ours = read_config(DEPLOY / "models.config", wire.ModelServerConfig)
    assert ours.SerializeToString(deterministic=True) == official.SerializeToString(deterministic=True)
    made = batching_parameters(DEPLOY / "batching.config")
    assert made == Parameters(8, 0.0, 16, 2, name="pages")
    assert read_config(DEPLOY / "monitoring.config", wire.MonitoringConfig).prometheus_config.enable


def test_flags_are_those_of_tensorflow_serving():
    assert len(commands()) == 3
    for command in commands():
        names = [flag.removeprefix("--").partition("=")[0] for flag in command]
        assert set(names) <= UPSTREAM and len(names) == len(set(names))


@pytest.mark.parametrize("command", commands())
def test_the_embedded_server_takes_the_commands(command):
    here = [flag.replace("/config/", f"{DEPLOY}/") for flag in command]
    chosen = options_of(parser().parse_args(here))
    assert chosen.batching and chosen.early_labels and chosen.metrics == "/monitoring/prometheus/metrics"


def test_the_embedded_server_serves_the_configuration(toys, tmp_path):
    publish(toys / "1", tmp_path / "ocr" / "1")
    publish(toys / "2", tmp_path / "ocr" / "2")
    config = read_config(DEPLOY / "models.config", wire.ModelServerConfig)
    config.model_config_list.config[0].base_path = str(tmp_path / "ocr")
    with Server(config, "127.0.0.1:0") as server:
        assert server.models.available() == {"ocr": [1, 2]}
        stable = wire.ModelSpec(name="ocr", version_label="stable")
        assert server.models.lookup(stable)[1] == 1


def test_images_are_pinned_and_mounts_are_there():
    services = documents("compose.yaml")[0]["services"]
    assert set(services) == {"cpu", "gpu"} and services["gpu"]["image"].endswith("-gpu")
    for service in services.values():
        assert IMAGE.fullmatch(service["image"])
        assert "../../saved_models:/models:ro" in service["volumes"]
    pod = workloads()["Deployment"]["spec"]["template"]["spec"]
    assert IMAGE.fullmatch(pod["containers"][0]["image"])
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_kubernetes_objects_fit_together():
    found = workloads()
    assert set(found) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    template = found["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert (
        found["Service"]["spec"]["selector"]
        == found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
        == labels
    )
    assert found["Service"]["spec"]["clusterIP"] == "None"
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    container = template["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} <= set(ports)
    assert container["readinessProbe"]["grpc"] == {"port": ports["grpc"], "service": "PredictionService"}
    assert "--enable_grpc_healthcheck_service=true" in container["args"]
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert sleep < template["spec"]["terminationGracePeriodSeconds"]
    (generated,) = documents("kustomization.yaml")[0]["configMapGenerator"]
    assert generated["name"] == template["spec"]["volumes"][1]["configMap"]["name"]
    assert all((DEPLOY / name).is_file() for name in generated["files"])
    mounted = {
        Path(value).name for flag in container["args"] if (value := flag.partition("=")[2]).startswith("/config/")
    }
    assert mounted == set(generated["files"])


def test_rules_and_board_speak_of_metrics_that_there_are():
    known = set(re.findall(r"# TYPE (\S+)", Metrics().page()))
    rules = [rule for group in documents("prometheus-rules.yaml")[0]["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana.json").read_text())
    texts = [rule["expr"] for rule in rules] + [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    for text in texts:
        assert text.count("(") == text.count(")") and text.count("{") == text.count("}")
        for name in METRIC.findall(text):
            assert re.sub("_(bucket|sum|count)$", "", name) in known or name in known
    assert len(METRIC.findall(" ".join(texts))) >= 10
    assert all(("alert" in rule and "summary" in rule["annotations"]) or "record" in rule for rule in rules)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_readme_names_each_file():
    text = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.iterdir():
        assert path.name in text or path.name == "README.md"
    assert "No image was run" in text
