// Widgets of nodes, in whichever way they are drawn.

const NO_ROOM = [0, -4]; // with the gap of 4 after every widget

export function widgetOf(node, name) {
    return node.widgets?.find((widget) => widget.name === name);
}

export function setWidget(node, name, value) {
    const widget = widgetOf(node, name);
    widget.value = value;
    widget.callback?.(value);
    node.graph?.setDirtyCanvas(true, true);
}

export function hide(widget, hidden) {
    widget.hidden = hidden; // as the canvas reads it
    widget.options.hidden = hidden; // as Nodes 2.0 does
    // Older canvases leave the room of a hidden widget empty.
    if (hidden) widget.computeSize = () => NO_ROOM;
    else delete widget.computeSize;
}

// Whether a node has something connected in the place of a widget or at an input.
export function isLinked(node, name) {
    return node.inputs?.some((input) => input.name === name && input.link != null) ?? false;
}

// `then` is called after a widget was set, by whom ever.
export function afterChange(widget, then) {
    const before = widget.callback;
    widget.callback = function (...values) {
        const result = before?.apply(this, values);
        then(...values);
        return result;
    };
}

// `then` is called after a node was read from a workflow, or something was connected to it.
export function afterLoading(node, then) {
    for (const event of ["onConfigure", "onConnectionsChange"]) {
        const before = node[event];
        node[event] = function (...values) {
            const result = before?.apply(this, values);
            then();
            return result;
        };
    }
}
