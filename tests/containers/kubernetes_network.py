"""What the network policies of the manifests let through, and whom labels select."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

#: Addresses that are nobody's on the web, and those of a cloud's own machines.
INSIDE = ["10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.1.1", "169.254.169.254", "fd00::1", "fe80::1"]

Object = dict[str, Any]
Objects = dict[str, Object]


def allowed(found: Objects, templates: Objects) -> Iterator[str]:
    """What the network policies let through."""
    app = templates["app"]
    # What one lets through, no other can close.
    yield from (f"{name} opens more" for name in found if name.startswith("NetworkPolicy/")
                and name.removeprefix("NetworkPolicy/greenr-") not in templates)  # fmt: skip
    for name, template in templates.items():
        policy = found.get(f"NetworkPolicy/greenr-{name}", {}).get(
            "spec", {"podSelector": {"matchLabels": {"": ""}}}
        )
        if not selects(policy["podSelector"]["matchLabels"], template):
            yield f"{name}: no policy"
            continue
        if set(policy["policyTypes"]) != {"Ingress", "Egress"}:
            yield f"{name}: a policy for one direction"
        asked = [port.get("port") for rule in policy.get("ingress", ()) for port in rule.get("ports", [{}])]
        if asked != ([8008] if name == "app" else []):
            yield f"{name}: asked at {asked}"
        rules = policy["egress"]
        if any("from" in rule for rule in policy.get("ingress", ())):
            yield f"{name}: not asked by all who may"
        if any(
            "endPort" in port
            for rule in (*policy.get("ingress", ()), *rules)
            for port in rule.get("ports", ())
        ):
            yield f"{name}: a range of ports"
        own = {"app.kubernetes.io/name", "app.kubernetes.io/component"}
        yield from (f"{name}: reaches pods of others" for rule in rules for peer in rule.get("to", ())
                    if "ipBlock" not in peer and (set(peer) != {"podSelector"}
                    or not own <= peer["podSelector"].get("matchLabels", {}).keys()))  # fmt: skip
        if not any({(53, "UDP"), (53, "TCP")} == _ports(rule) and "to" not in rule for rule in rules):
            yield f"{name}: no DNS"
        blocks = [
            (peer["ipBlock"], _ports(rule))
            for rule in rules
            for peer in rule.get("to", ())
            if "ipBlock" in peer
        ]
        for outside in ("93.184.216.34", "2606:2800::1"):
            reached = {port for block, ports in blocks if _within(outside, block) for port, _ in ports}
            if not {80, 443} <= reached:
                yield f"{name}: no pictures from {outside}"
            if name == "pipeline" and not {465, 587} <= reached:
                yield f"{name}: no mail through {outside}"
        yield from (f"{name}: reaches {address}" for address in INSIDE
                    if any(_within(address, block) for block, _ in blocks))  # fmt: skip
        yield from (
            f"{name}: reaches anybody"
            for rule in rules
            if "to" not in rule and {p for p, _ in _ports(rule)} != {53}
        )
        to_app = [rule for rule in rules for peer in rule.get("to", ())
                  if "podSelector" in peer and selects(peer["podSelector"].get("matchLabels", {}), app)]  # fmt: skip
        if name == "pipeline" and not any((8008, "TCP") in _ports(rule) for rule in to_app):
            yield "the pipeline does not reach the page"


def selects(labels: dict[str, str], template: Object) -> bool:
    return labels.items() <= template["metadata"]["labels"].items()


def _ports(rule: Object) -> set[tuple[int, str]]:
    return {(port["port"], port.get("protocol", "TCP")) for port in rule.get("ports", ())}


def _within(address: str, block: Object) -> bool:
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block["cidr"]) and not any(
        ip in ipaddress.ip_network(one) for one in block.get("except", ())
    )
