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

// A region's node has the colour in which it is drawn, from its first run on, and so have its wires.
const REGION = "LocalControl_Region";
const TITLE = 0.6; // of the colour is behind a title, whose words are white

function bright(colour) {
    if (!/^#[0-9a-f]{6}$/i.test(colour)) return colour;
    const parts = colour.slice(1).match(/../g).map((part) => parseInt(part, 16) / TITLE);
    return `rgb(${parts.map((part) => Math.min(255, Math.round(part))).join(", ")})`;
}

function colourWires(canvas) {
    const before = canvas.renderLink;
    if (typeof before !== "function") return;
    canvas.renderLink = function (context, from, to, link, border, flow, colour, ...rest) {
        const origin = link?.type === "LOCAL_REGIONS" && this.graph.getNodeById(link.origin_id);
        const own = origin?.comfyClass === REGION && origin.color ? bright(origin.color) : colour;
        return before.call(this, context, from, to, link, border, flow, colour ?? own, ...rest);
    };
}

app.registerExtension({
    name: "localcontrol.region",
    setup: () => colourWires(app.canvas),
    nodeCreated(node) {
        if (node.comfyClass !== REGION) return;
        const before = node.onExecuted;
        node.onExecuted = function (output) {
            before?.apply(this, arguments);
            const colour = output?.local_control_colour?.[0];
            if (!colour) return;
            node.color = colour;
            node.graph.setDirtyCanvas(true, true);
        };
    },
});
