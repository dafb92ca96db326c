// A strength over time: as the text that workflows keep, evenly spaced factors such as "1, 0.5, 0",
// and as what the frontend's curve widget draws: {points: [[x, y], ...], interpolation}.

const SAMPLES = 17;
const CLOSE = 1e-6;

export function numbersOf(text) {
    const parts = String(text).replaceAll(",", " ").trim().split(/\s+/);
    const numbers = parts.map(Number);
    return parts[0] === "" || numbers.some(Number.isNaN) ? null : numbers;
}

export function textOf(numbers) {
    return numbers.map((number) => Number(number.toFixed(3))).join(", ");
}

export function curveOf(factors) {
    const ends = factors.length > 1 ? factors : [factors[0], factors[0]];
    const points = ends.map((factor, i) => [i / (ends.length - 1), factor]);
    return { points, interpolation: "linear" };
}

// As few factors as give the same curve; rounded ones are sampled.
export function factorsOf({ points, interpolation }) {
    const sorted = [...points].sort(([a], [b]) => a - b);
    const isEven = sorted.every(([x], i) => Math.abs(x - i / (sorted.length - 1)) < CLOSE);
    const factors = isEven && interpolation === "linear"
        ? sorted.map(([, y]) => y)
        : Array.from({ length: SAMPLES }, (_, i) => (
            valueAt(sorted, slopesOf(sorted, interpolation), i / (SAMPLES - 1))));
    return factors.every((factor) => Math.abs(factor - factors[0]) < CLOSE) ? [factors[0]] : factors;
}

// The slopes at the points of a monotone cubic (Fritsch and Carlson); null for straight lines.
function slopesOf(points, interpolation) {
    if (interpolation === "linear") return null;
    const rises = points.slice(1).map(([x, y], i) => (
        (y - points[i][1]) / Math.max(x - points[i][0], CLOSE)));
    const slopes = points.map((_, i) => {
        const [before, after] = [rises[i - 1] ?? rises[i], rises[i] ?? rises[i - 1]];
        return before * after <= 0 ? 0 : (before + after) / 2;
    });
    rises.forEach((rise, i) => {
        if (rise === 0) {
            slopes[i] = slopes[i + 1] = 0;
            return;
        }
        const length = Math.hypot(slopes[i] / rise, slopes[i + 1] / rise);
        if (length > 3) {
            slopes[i] *= 3 / length;
            slopes[i + 1] *= 3 / length;
        }
    });
    return slopes;
}

function valueAt(points, slopes, x) {
    const next = points.findIndex(([at]) => at >= x);
    if (next === 0) return points[0][1];
    if (next < 0) return points.at(-1)[1];
    const [[x0, y0], [x1, y1]] = points.slice(next - 1, next + 1);
    const width = x1 - x0;
    const t = (x - x0) / width;
    if (!slopes) return y0 + t * (y1 - y0);
    const bend = 2 * t ** 3 - 3 * t ** 2;
    return (1 + bend) * y0 - bend * y1
        + width * ((t ** 3 - 2 * t ** 2 + t) * slopes[next - 1] + (t ** 3 - t ** 2) * slopes[next]);
}
