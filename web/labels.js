// What a combo of ours offers, in the language of the interface; its values stay as they are.
import { app } from "../../scripts/app.js";
import { textsOf } from "./texts.js";

app.registerExtension({
    name: "localcontrol.labels",
    nodeCreated(node) {
        const ours = node.comfyClass?.startsWith("LocalControl_") && textsOf(node.comfyClass);
        if (!ours) return;
        for (const widget of node.widgets ?? []) {
            const labels = ours.inputs[widget.name]?.options;
            if (labels) widget.options.getOptionLabel = (value) => labels[value] ?? String(value);
        }
    },
});
