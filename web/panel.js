// A panel on a node, below its widgets, for what a run has made or a file tells.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const PATIENCE = 15; // looks, in the first seconds of a node
const PAUSE_MS = 200;

export function element(tag, properties = {}, children = []) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

// Where the browser finds a picture that a node has saved.
export function urlOf(file) {
    return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

// The frontend puts back what nodes have made some time after it has opened their workflow again.
async function outputOf(node) {
    for (let look = 0; look < PATIENCE; look += 1) {
        await new Promise((resume) => { setTimeout(resume, PAUSE_MS); });
        const output = app.nodeOutputs?.[node.id] ?? app.nodeOutputs?.[`${node.graph?.id}:${node.id}`];
        if (output) return output;
    }
    return null;
}

// A panel that what is returned fills with the elements that `draw` makes of what is shown. With a
// `key`, what a run of the node tells by it is shown. Until then it takes no room.
export function addPanel(node, { name, className, style, key, height, draw }) {
    const root = element("div", { className });
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => 0 };
    const widget = node.addDOMWidget(name, `local_control_${name}`, root, options);
    widget.serialize = false;
    const show = (shown) => {
        options.getMinHeight = () => height;
        root.replaceChildren(element("style", { textContent: style }), ...draw(shown));
        const [width, least] = node.computeSize();
        node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)]);
        node.graph?.setDirtyCanvas(true, true);
    };
    if (!key) return show;
    const showRun = (output) => output?.[key]?.[0] && show(output[key][0]);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
        before?.apply(this, arguments);
        showRun(output);
    };
    outputOf(node).then((output) => { if (!root.hasChildNodes()) showRun(output); });
    return show;
}
