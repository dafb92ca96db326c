// The "live" switch of Local Control Condition: after a change of its options the node runs alone
// (and whatever it needs upstream), so that its own preview follows while thresholds are tuned.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { t } from "./texts.js";

const DELAY_MS = 250;

// The ids that the server knows a node by: its own, behind those of the subgraphs that it is in.
// One for each place where its subgraph is used.
function executionIds(node, graph, prefix = "") {
    return graph.nodes.flatMap((other) => {
        if (other === node) return [`${prefix}${node.id}`];
        return other.subgraph ? executionIds(node, other.subgraph, `${prefix}${other.id}:`) : [];
    });
}

// As app.queuePrompt, which would give every seed of the graph that is set to "randomize" a new
// value, though the sampler does not run.
async function runAlone(node) {
    const partialExecutionTargets = executionIds(node, node.graph.rootGraph);
    try {
        await api.queuePrompt(0, await app.graphToPrompt(), { partialExecutionTargets });
    } catch (error) {
        const detail = error.response?.error?.message ?? error.message;
        app.extensionManager.toast.add({ severity: "warn", summary: node.title, detail, life: 5000 });
    }
}

function runSoonAfterChanges(node, live) {
    let timer;
    for (const widget of node.widgets.filter((widget) => widget !== live)) {
        const before = widget.callback;
        widget.callback = function (...args) {
            const result = before?.apply(this, args);
            clearTimeout(timer);
            if (live.value) timer = setTimeout(() => runAlone(node), DELAY_MS);
            return result;
        };
    }
}

app.registerExtension({
    name: "localcontrol.condition",
    nodeCreated(node) {
        if (node.comfyClass !== "LocalControl_Condition") return;
        const live = node.addWidget("toggle", "live", false, () => {}, { serialize: false });
        live.serialize = false;
        live.label = t("live");
        live.tooltip = t("Run this node after every change of its options.");
        runSoonAfterChanges(node, live);
    },
});
