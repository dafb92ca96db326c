// The "live" switch of Local Control Condition: after a change of its options the node runs alone
// (and whatever it needs upstream), so that its own preview follows while thresholds are tuned.
import { app } from "../../scripts/app.js";

const DELAY_MS = 250;

function runSoonAfterChanges(node, live) {
    let timer;
    for (const widget of node.widgets.filter((widget) => widget !== live)) {
        const before = widget.callback;
        widget.callback = function (...args) {
            const result = before?.apply(this, args);
            clearTimeout(timer);
            if (live.value) {
                timer = setTimeout(() => app.queuePrompt(0, 1, [String(node.id)]), DELAY_MS);
            }
            return result;
        };
    }
}

app.registerExtension({
    name: "LocalControl.ConditionPreview",
    nodeCreated(node) {
        if (node.comfyClass !== "LocalControl_Condition") return;
        const live = node.addWidget("toggle", "live", false, () => {}, { serialize: false });
        live.serialize = false;
        live.tooltip = "Run this node after every change of its options.";
        runSoonAfterChanges(node, live);
    },
});
