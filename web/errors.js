// What went wrong, in the sentence that the pack has for it: newer frontends hide it behind "View
// details" of a message that says nothing.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeOf } from "./graph.js";
import { t } from "./texts.js";

// The name of the pack's folder, as tracebacks have it: /extensions/NAME/errors.js
const FOLDER = new URL(import.meta.url).pathname.split("/").at(-2);
const LIFE_MS = 20000;

function isOurs({ node_type: type, traceback }) {
    const at = (traceback ?? []).join("").replaceAll("\\", "/");
    return type?.startsWith("LocalControl_") || at.includes(`custom_nodes/${FOLDER}/`);
}

app.registerExtension({
    name: "localcontrol.errors",
    setup() {
        api.addEventListener("execution_error", ({ detail }) => {
            if (!isOurs(detail)) return;
            app.extensionManager.toast.add({
                severity: "error",
                summary: nodeOf(detail.node_id)?.title ?? t("Local Control"),
                detail: detail.exception_message,
                life: LIFE_MS,
            });
        });
    },
});
