// The words of our scripts in the language of the interface. They are looked up by the English ones,
// which stand in the scripts and are shown where there are no others.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// By language, what packs have in their locales; frontends without it keep the English words.
let all = {};

function ofLanguage() {
    return all[app.extensionManager?.setting?.get("Comfy.Locale")] ?? {};
}

// The names, tooltips and choices of a type of node.
export function textsOf(type) {
    return ofLanguage().nodeDefs?.[type];
}

// Words to show, with {name} replaced by the value of that name.
export function t(words, values = {}) {
    const text = ofLanguage().localControl?.[words] ?? words;
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Marks words that are shown later, by t(), as ones to be translated.
export function mark(words) {
    return words;
}

app.registerExtension({
    name: "localcontrol.texts",
    async init() {
        const answer = await api.fetchApi("/i18n");
        if (answer.ok) all = await answer.json();
    },
});
