package resolve

import "strings"

// Rule is a row of the table of rules.
type Rule struct {
	// ID is R1 to R33.
	ID string `json:"id"`
	// Facts says when the rule decides.
	Facts string `json:"facts"`
	// Decision says what it decides.
	Decision string `json:"decision"`
}

// The ids of the rules; table says what they mean.
const (
	ruleNoNews     = "R1"
	ruleParent     = "R2"
	ruleStrategy   = "R3"
	ruleSurvivor   = "R4"
	ruleConflict   = "R5"
	ruleCreate     = "R6"
	ruleEqual      = "R7"
	ruleFields     = "R8"
	ruleDelete     = "R9"
	ruleLaterFate  = "R10"
	ruleDeleteWins = "R11"
	ruleEditWins   = "R12"
	ruleRevive     = "R13"
	ruleNothing    = "R14"
	ruleWithheld   = "R15"
	ruleOneSided   = "R16"
	ruleUnstated   = "R17"
	ruleThis       = "R18"
	ruleOther      = "R19"
	ruleNewer      = "R20"
	ruleOlder      = "R21"
	ruleTie        = "R22"
	ruleMaster     = "R23"
	ruleMasterCopy = "R24"
	ruleMin        = "R25"
	ruleMax        = "R26"
	ruleUnion      = "R27"
	ruleCounter    = "R28"
	ruleLongest    = "R29"
	ruleExpr       = "R30"
	ruleHook       = "R31"
	ruleUndecided  = "R32"
	ruleFuture     = "R33"
)

// Rules returns the table: R1 to R15 decide on a record, R16 to R32 on a
// field, R33 on times.
func Rules() []Rule {
	return []Rule{
		{ruleNoNews, "the remote side neither has the record nor has deleted it, or has deleted what is not here", "nothing"},
		{ruleParent, "the record that this one is a component of was skipped", "skip"},
		{ruleStrategy, "the method (create, update, delete, merge) is not part of the strategy", "skip, with all components"},
		{ruleSurvivor, "a merge names a survivor that is not here", "strict: the inbox; Eden: skip"},
		{ruleConflict, "a conflict (both sides changed the same field since the base; without a base: both were modified since the last sync) is not accepted by the conflict policy", "the inbox: the record stays as it is here"},
		{ruleCreate, "the record is not here", "create"},
		{ruleEqual, "both sides say the same; order of keys, white space and the spelling of numbers do not count", "nothing; the later times are kept"},
		{ruleFields, "both sides have the record and differ", "each field by its own rule"},
		{ruleDelete, "one side deleted what the other has not changed", "delete"},
		{ruleLaterFate, "one side deleted what the other edited, and the later of both counts (policy newer; of equal times the deletion)", "delete or keep; the other is reported"},
		{ruleDeleteWins, "one side deleted what the other edited, and deletions win (policy delete)", "delete; the edits are reported"},
		{ruleEditWins, "one side deleted what the other edited, and edits win that whoever deleted did not know (policy edit)", "keep; the deletion is reported"},
		{ruleRevive, "the record was deleted here and has been edited there since", "update, no longer deleted"},
		{ruleNothing, "no rule of a field or policy takes anything from the remote side", "nothing; a stored time is never lowered while local data is kept"},
		{ruleWithheld, "resolution master withholds every field of a record that its owner did not send", "skip"},
		{ruleOneSided, "just one side has changed the field since the base", "its change is taken: edits of different fields merge"},
		{ruleUnstated, "just one side says anything about the field", "what it says is taken"},
		{ruleThis, "resolution this", "the local value"},
		{ruleOther, "resolution other", "the imported value, if there is any"},
		{ruleNewer, "resolution newer", "the value that was written last: by the times of the field if both sides have them, else by those of the record; Eden: the imported one unless the local record is newer"},
		{ruleOlder, "resolution older", "the value that was written first"},
		{ruleTie, "the times are equal down to counter and node", "the greater value, so that all replicas choose the same; Eden: the imported one"},
		{ruleMaster, "resolution master", "the imported value if its owner sent it (mci 1) and this is not the owner (mci 0), else the local one"},
		{ruleMasterCopy, "resolution mastercopy", "the imported value if its mci is lower and not 0 and this is not the owner, the newer one if the mci are equal, else the local one"},
		{ruleMin, "resolution min", "the smaller number, date or string"},
		{ruleMax, "resolution max", "the larger number, date or string"},
		{ruleUnion, "resolution union", "the elements of both arrays, without those that one side has removed since the base"},
		{ruleCounter, "resolution counter", "the base and what both sides have added to it"},
		{ruleLongest, "resolution longest", "the string of more characters"},
		{ruleExpr, "resolution by expression", "its result"},
		{ruleHook, "resolution hook", "what the hook returns"},
		{ruleUndecided, "the resolution cannot decide: values of types that do not compare, no base to count from, an error of an expression or hook", "a conflict; the value is that of the greater type, the newer, or the local one, in this order of what can be told"},
		{ruleFuture, "a time is ahead of now by more than the tolerance", "strict: it counts as now and is stored so; reported"},
	}
}

// RulesTable renders [Rules] as a Markdown table.
func RulesTable() string {
	var b strings.Builder
	b.WriteString("| rule | facts | decision |\n|---|---|---|\n")
	for _, r := range Rules() {
		b.WriteString("| " + r.ID + " | " + r.Facts + " | " + r.Decision + " |\n")
	}
	return b.String()
}
