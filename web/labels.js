// What a combo of ours offers, in the language of the interface; its values stay as they are.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let texts = {};

app.registerExtension({
    name: "localcontrol.labels",
    async init() {
        const locale = app.extensionManager.setting.get("Comfy.Locale");
        const all = await (await api.fetchApi("/i18n")).json();
        texts = all[locale]?.nodeDefs ?? {};
    },
    nodeCreated(node) {
        const ours = node.comfyClass?.startsWith("LocalControl_") && texts[node.comfyClass];
        if (!ours) return;
        for (const widget of node.widgets ?? []) {
            const labels = ours.inputs[widget.name]?.options;
            if (labels) widget.options.getOptionLabel = (value) => labels[value] ?? String(value);
        }
    },
});
