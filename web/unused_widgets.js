// Widgets that have no effect are hidden: canny's thresholds under colour, a size that a connected
// latent gives, and so on.
import { app } from "../../scripts/app.js";
import { afterChange, afterLoading, hide, isLinked, widgetOf } from "./widgets.js";

const EDGES = ["low_threshold", "high_threshold", "blur"];
// By kind, the widgets that it uses of all that any kind does.
const USED = {
    LocalControl_Condition: { canny: EDGES, sobel: [], laplacian: [], colour: ["blocks"] },
    LocalControl_Score: { edges: ["tolerance", ...EDGES], colour: ["blocks"] },
};
// By input, the widgets that are not asked while something is connected to it.
const REPLACED = {
    LocalControl_PreviewRegions: { latent: ["width", "height"] },
};

function hideUnused(node) {
    const used = USED[node.comfyClass] ?? {};
    const all = new Set(Object.values(used).flat());
    const shown = used[widgetOf(node, "kind")?.value] ?? [...all];
    const hidden = [...all].filter((name) => !shown.includes(name));
    const replaced = Object.entries(REPLACED[node.comfyClass] ?? {});
    for (const [input, names] of replaced) {
        names.forEach((name) => all.add(name));
        if (isLinked(node, input)) hidden.push(...names);
    }
    for (const name of all) hide(widgetOf(node, name), hidden.includes(name));
    node.graph?.setDirtyCanvas(true, true);
}

app.registerExtension({
    name: "localcontrol.unused_widgets",
    nodeCreated(node) {
        if (!USED[node.comfyClass] && !REPLACED[node.comfyClass]) return;
        const kind = widgetOf(node, "kind");
        if (kind) afterChange(kind, () => hideUnused(node));
        afterLoading(node, () => hideUnused(node));
        hideUnused(node);
    },
});
