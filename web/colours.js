// Colours of our own types: dots and wires that can be told from others in every renderer.
import { app } from "../../scripts/app.js";

const COLOURS = { LOCAL_REGIONS: "#ff7a59", Z0_TRACE: "#4fd1c5" };

function colourTypes() {
    const { canvas } = app;
    for (const [type, colour] of Object.entries(COLOURS)) {
        canvas.constructor.link_type_colors[type] = colour;
        canvas.default_connection_color_byType[type] = colour;
        document.documentElement.style.setProperty(`--color-datatype-${type}`, colour);
    }
}

// A palette that is loaded after the setup has no colours for the types of packs, and clears ours.
app.registerExtension({
    name: "localcontrol.colours",
    setup: colourTypes,
    afterConfigureGraph: colourTypes,
});

// A region's node and its wire have the colour in which it is drawn, from its first run on.
function paint(node, colour) {
    node.color = colour;
    for (const id of node.outputs[0].links ?? []) {
        const link = node.graph.getLink?.(id) ?? node.graph.links[id];
        if (link) link.color = colour;
    }
    node.graph.setDirtyCanvas(true, true);
}

app.registerExtension({
    name: "localcontrol.region",
    nodeCreated(node) {
        if (node.comfyClass !== "LocalControl_Region") return;
        const before = node.onExecuted;
        node.onExecuted = function (output) {
            before?.apply(this, arguments);
            const colour = output?.local_control_colour?.[0];
            if (colour) paint(node, colour);
        };
    },
});
