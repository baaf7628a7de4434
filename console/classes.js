// Classes of the comparison, as people tell them apart: not by colour alone.

export const BAD = ["payload_mismatch", "missing_in_rabbitmq", "missing_in_legacy_unexpected", "duplicate", "audience_mismatch", "leak"];
export const NEUTRAL = ["missing_in_rabbitmq_expected", "missing_in_legacy_expected"];
export const ALL = ["match", ...NEUTRAL, "indeterminate", ...BAD];

export const kind = (name) =>
  BAD.includes(name) ? "bad" : NEUTRAL.includes(name) ? "neutral" : name === "indeterminate" ? "warn" : "good";

export const mark = (name) => ({ bad: "▲", neutral: "○", warn: "?", good: "●" })[kind(name)];
