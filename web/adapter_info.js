// What an adapter's file says of itself: in words on Load Local Adapter, and as the kind and options
// of a Local Control Condition that is connected to it.
import { app } from "../../scripts/app.js";
import { addPanel, element } from "./panel.js";
import { t } from "./texts.js";
import { afterChange, afterLoading, setWidget, widgetOf } from "./widgets.js";

const LOADER = "LocalControl_LoadAdapter";
const CONDITION = "LocalControl_Condition";

const STYLE = `
.local-control-adapter { width: 100%; height: 100%; overflow-y: auto;
    font: 12px/1.35 sans-serif; color: var(--input-text, #ddd); }
.local-control-adapter p { margin: 0 0 4px; }
`;

// By the file's name; the server tells it with the node's inputs, anew when they are refreshed.
let infos = {};

function read(definition) {
    infos = definition?.input.required.adapter_name[1].local_control ?? infos;
}

function draw({ words }) {
    return words.split("\n").map((line) => element("p", { textContent: line }));
}

// The widgets of a condition that an adapter sets look as connected ones, and go back if changed.
function follow(node) {
    const slot = node.inputs?.findIndex((input) => input.name === "control_net") ?? -1;
    const source = slot < 0 ? null : node.getInputNode(slot);
    const name = source?.comfyClass === LOADER ? widgetOf(source, "adapter_name").value : null;
    const told = infos[name]?.condition ?? {};
    for (const widget of node.widgets.filter((one) => one.name !== "live")) {
        const isTold = widget.name in told;
        if (isTold && widget.value !== told[widget.name]) setWidget(node, widget.name, told[widget.name]);
        widget.disabled = isTold; // as the canvas reads it
        widget.options.disabled = isTold; // as Nodes 2.0 does
    }
}

function followers(loader) {
    const links = loader.outputs.flatMap((output) => output.links ?? []);
    const targets = links.map((id) => {
        const link = loader.graph.getLink?.(id) ?? loader.graph.links[id];
        return loader.graph.getNodeById(link.target_id);
    });
    return targets.filter((node) => node?.comfyClass === CONDITION);
}

app.registerExtension({
    name: "localcontrol.adapter_info",
    beforeRegisterNodeDef(_, definition) {
        if (definition.name === LOADER) read(definition);
    },
    refreshComboInNodes(definitions) {
        read(definitions[LOADER]);
    },
    nodeCreated(node) {
        if (node.comfyClass === CONDITION) {
            const refresh = () => follow(node);
            for (const widget of node.widgets) afterChange(widget, refresh);
            afterLoading(node, refresh);
        }
        if (node.comfyClass !== LOADER) return;
        const show = addPanel(node, {
            name: "adapter_info",
            className: "local-control-adapter",
            style: STYLE,
            draw,
        });
        const chosen = widgetOf(node, "adapter_name");
        const refresh = () => {
            const words = t("This file tells nothing that is known of adapters.");
            show(infos[chosen.value] ?? { words });
            if (node.graph) followers(node).forEach(follow);
        };
        afterChange(chosen, refresh);
        afterLoading(node, refresh);
        refresh();
    },
});
