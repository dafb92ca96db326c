// Local Control shows what its parts have made. A run that finds it cached runs none of them, and a
// page that was loaded since has nothing to show: then it comes from the server's history.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeOf } from "./graph.js";

const NODE = "LocalControl_LocalControl";
const SHOWN = "local_control_comparison";
const NEWEST = 64; // prompts of the history that are looked through

// The part of a prompt that a node depends on, itself included.
function upstream(prompt, id, found = {}) {
    if (!prompt[id] || found[id]) return found;
    const { class_type, inputs } = prompt[id];
    found[id] = { class_type, inputs };
    for (const value of Object.values(inputs)) {
        if (Array.isArray(value)) upstream(prompt, value[0], found);
    }
    return found;
}

// What a node showed in a prompt, as the event that told it.
function eventOf({ outputs, meta }, id) {
    for (const [node, { display_node }] of Object.entries(meta ?? {})) {
        if (display_node === id && outputs[node]?.[SHOWN]) {
            return { node, display_node, output: outputs[node] };
        }
    }
    return null;
}

async function recall(prompt_id, ids) {
    const answer = await api.fetchApi(`/history?max_items=${NEWEST}`);
    const history = await answer.json();
    const now = history[prompt_id]?.prompt[2] ?? {};
    const entries = Object.values(history).reverse();
    for (const id of ids) {
        const made = JSON.stringify(upstream(now, id));
        const events = entries
            .filter(({ prompt }) => JSON.stringify(upstream(prompt[2], id)) === made)
            .map((entry) => eventOf(entry, id));
        const newest = events.find(Boolean);
        if (newest) api.dispatchCustomEvent("executed", { ...newest, prompt_id });
    }
}

const shown = new WeakSet();

function isBlank(id) {
    const node = nodeOf(id);
    return node?.comfyClass === NODE && !shown.has(node);
}

app.registerExtension({
    name: "localcontrol.recall",
    setup() {
        let cached = null;
        api.addEventListener("execution_cached", ({ detail }) => { cached = detail; });
        api.addEventListener("executed", ({ detail }) => {
            const node = detail.output?.[SHOWN] && nodeOf(detail.display_node);
            if (node) shown.add(node);
        });
        // The history is written when no node is executing any more.
        api.addEventListener("executing", ({ detail: running }) => {
            if (running || !cached) return;
            const { prompt_id, nodes } = cached;
            cached = null;
            const blank = nodes.filter(isBlank);
            if (blank.length) recall(prompt_id, blank);
        });
    },
});
