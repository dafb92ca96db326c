// Widgets that the chosen kind does not use are hidden: canny's thresholds under colour, and so on.
import { app } from "../../scripts/app.js";

const EDGES = ["low_threshold", "high_threshold", "blur"];
const USED = {
    LocalControl_Condition: { canny: EDGES, sobel: [], laplacian: [], colour: ["blocks"] },
    LocalControl_Score: { edges: ["tolerance", ...EDGES], colour: ["blocks"] },
};

function showUsed(node, used) {
    const kind = node.widgets.find((widget) => widget.name === "kind");
    const all = new Set(Object.values(used).flat());
    for (const widget of node.widgets.filter(({ name }) => all.has(name))) {
        const hidden = !(used[kind.value] ?? [...all]).includes(widget.name);
        widget.hidden = hidden; // as the canvas reads it
        widget.options.hidden = hidden; // as Nodes 2.0 does
    }
    node.graph?.setDirtyCanvas(true, true);
}

app.registerExtension({
    name: "localcontrol.unused_widgets",
    nodeCreated(node) {
        const used = USED[node.comfyClass];
        const kind = used && node.widgets?.find((widget) => widget.name === "kind");
        if (!kind) return;
        const before = kind.callback;
        kind.callback = function (...values) {
            const result = before?.apply(this, values);
            showUsed(node, used);
            return result;
        };
        showUsed(node, used);
    },
    loadedGraphNode(node) {
        const used = USED[node.comfyClass];
        if (used) showUsed(node, used);
    },
});
