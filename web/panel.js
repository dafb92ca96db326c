// A panel on a node, below its widgets, for what a run has made.
import { api } from "../../scripts/api.js";

export function element(tag, properties = {}, children = []) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

// Where the browser finds a picture that a node has saved.
export function urlOf(file) {
    return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

// A panel that what is returned fills with the elements that `draw` makes of what is shown, as a run
// of the node does that tells `key`; until then it takes no room.
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
    const before = node.onExecuted;
    node.onExecuted = function (output) {
        before?.apply(this, arguments);
        const shown = key && output?.[key]?.[0];
        if (shown) show(shown);
    };
    return show;
}
