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

// Gives a node at least the room that its widgets need.
function grow(node) {
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    node.graph?.setDirtyCanvas(true, true);
}

// A panel that what is returned fills with the elements that `draw` makes of what is shown. With a
// `key`, what a run of the node tells by it is shown. Until then it takes no room; then `height`, or
// as much as they fill.
export function addPanel(node, { name, className, style, key, height, draw }) {
    const root = element("div", { className });
    const content = height ? root : element("div");
    if (!height) root.append(content);
    let room = 0;
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => room };
    const widget = node.addDOMWidget(name, `local_control_${name}`, root, options);
    widget.serialize = false;
    const take = () => {
        room = height ?? content.offsetHeight + 2 * (widget.margin ?? 0);
        grow(node);
    };
    if (!height) new ResizeObserver(take).observe(content);
    const show = (shown) => {
        content.replaceChildren(element("style", { textContent: style }), ...draw(shown));
        take();
    };
    if (!key) return show;
    const showRun = (output) => output?.[key]?.[0] && show(output[key][0]);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
        before?.apply(this, arguments);
        showRun(output);
    };
    outputOf(node).then((output) => { if (!content.hasChildNodes()) showRun(output); });
    return show;
}
