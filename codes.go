package gapless

import (
	"maps"
	"slices"
)

// CodeInfo documents one code; docs/errors.md is generated from the table.
type CodeInfo struct {
	Code  Code
	Title string
	// Hint says what to do next in general.
	Hint string
	// Exit code, or 0 if the wrapped failure decides.
	Exit int
}

// The codes. Numbers are never reused: 10xx configuration, 20xx runs and
// plans, 30xx guards and proofs, 40xx stores, 50xx data, 60xx files.
const (
	CodeConfig          Code = 1001
	CodeUnknownOption   Code = 1002
	CodeMissingOption   Code = 1003
	CodeInvalidOption   Code = 1004
	CodeUnknownKind     Code = 1005
	CodeUsage           Code = 1006
	CodeUnknownName     Code = 1007
	CodeUnsafeListen    Code = 1008
	CodeLeaseHeld       Code = 2001
	CodeFenced          Code = 2002
	CodeRunFailed       Code = 2003
	CodeIncarnation     Code = 2004
	CodeGuard           Code = 3001
	CodeEmptySource     Code = 3002
	CodeApproval        Code = 3003
	CodeGap             Code = 3004
	CodeTampered        Code = 3005
	CodeDiffer          Code = 3006
	CodeUnverifiable    Code = 3007
	CodeUnfinished      Code = 3008
	CodeNotRepaired     Code = 3009
	CodeStoreLocked     Code = 4001
	CodeStoreDamaged    Code = 4002
	CodeStoreFull       Code = 4003
	CodeStoreVersion    Code = 4004
	CodeRejectedRecords Code = 5001
	CodeNotFound        Code = 5002
	CodeFiles           Code = 6001
	CodeFileList        Code = 6002
	CodeCart            Code = 6003
	CodeCannotKeep      Code = 1009
	CodeCanary          Code = 3011
	CodeChangedSince    Code = 3012
	CodeUndone          Code = 3013
)

var codes = map[Code]CodeInfo{
	CodeConfig:          {Title: "the configuration cannot be used", Hint: "correct the line shown and run gapless validate", Exit: ExitUsage},
	CodeUnknownOption:   {Title: "an option or key is not known", Hint: "see gapless connectors NAME for the options there are", Exit: ExitUsage},
	CodeMissingOption:   {Title: "a required option is missing", Hint: "add it; gapless connectors NAME shows an example", Exit: ExitUsage},
	CodeInvalidOption:   {Title: "an option's value cannot be used", Hint: "see gapless connectors NAME for what it accepts", Exit: ExitUsage},
	CodeUnknownKind:     {Title: "there is no connector of that name", Hint: "gapless connectors lists them", Exit: ExitUsage},
	CodeUsage:           {Title: "the command line cannot be understood", Hint: "see gapless COMMAND --help", Exit: ExitUsage},
	CodeUnknownName:     {Title: "the configuration names no such connector", Hint: "gapless validate lists the names", Exit: ExitUsage},
	CodeUnsafeListen:    {Title: "refusing to listen beyond loopback without credentials", Hint: "listen on 127.0.0.1 or configure credentials", Exit: ExitUsage},
	CodeLeaseHeld:       {Title: "another runner holds this connector", Hint: "wait for it to end; a dead runner's lease expires by itself", Exit: ExitRecoverable},
	CodeFenced:          {Title: "a newer runner has taken over", Hint: "let the newer runner finish; nothing this one wrote after that was accepted", Exit: ExitRecoverable},
	CodeRunFailed:       {Title: "a run did not complete", Hint: "gapless why shows what happened and what the next run will do"},
	CodeIncarnation:     {Title: "the destination restarted or was replaced during the run", Hint: "run again: what was not synced is pushed once more", Exit: ExitRecoverable},
	CodeGuard:           {Title: "more records would be deleted than the guard allows", Hint: "look at gapless plan, then run again with --approve and the plan's id", Exit: ExitGuard},
	CodeEmptySource:     {Title: "the source came back empty where records were before", Hint: "check the source; if it really is empty run again with --approve and the plan's id", Exit: ExitGuard},
	CodeApproval:        {Title: "the approved plan is not what would be done now", Hint: "look at the new plan and approve that one", Exit: ExitGuard},
	CodeGap:             {Title: "completeness cannot be proved", Hint: "run the command named with the gap", Exit: ExitUnrecoverable},
	CodeTampered:        {Title: "a stored certificate was altered", Hint: "restore the state from a backup or run with --full to start a new chain", Exit: ExitUnrecoverable},
	CodeDiffer:          {Title: "source and destination differ in what no run will bring", Hint: "gapless repair brings just these records", Exit: ExitUnrecoverable},
	CodeUnverifiable:    {Title: "the two ends cannot be compared", Hint: "gapless prove checks the account of the runs; gapless run --full brings everything once more", Exit: ExitUsage},
	CodeUnfinished:      {Title: "a verification did not come to its end", Hint: "run it again: it goes on where it was, or say how much it may read", Exit: ExitRecoverable},
	CodeNotRepaired:     {Title: "there are too many differences to repair one by one", Hint: "gapless repair --full reads everything and pushes all of it", Exit: ExitGuard},
	CodeStoreLocked:     {Title: "another process holds the store", Hint: "stop that process, or start gapless serve and let it own the store"},
	CodeStoreDamaged:    {Title: "a store cannot be read", Hint: "restore it from a backup, or move it away and run again: the next run is full"},
	CodeStoreFull:       {Title: "the disk is full", Hint: "free space and run again: it continues from the last checkpoint", Exit: ExitRecoverable},
	CodeStoreVersion:    {Title: "a store was written by a newer version", Hint: "use that version or a newer one", Exit: ExitUsage},
	CodeRejectedRecords: {Title: "some records could not be synced", Hint: "gapless deadletters list shows each with its reason", Exit: ExitSource + int(CauseUnreadable)},
	CodeNotFound:        {Title: "there is no such thing", Hint: "list what there is first", Exit: ExitUsage},
	CodeFiles:           {Title: "files are missing or are not what was promised", Hint: "run the same command again: what is there and right is not fetched twice"},
	CodeFileList:        {Title: "a list of files cannot be used", Hint: "correct the event or list that names them", Exit: ExitSource + int(CauseUnreadable)},
	CodeCart:            {Title: "a cart could not be staged", Hint: "the message is the cart server's; run the same command again when that is mended"},
	CodeCannotKeep:      {Title: "the destination cannot keep what a run replaces and deletes", Hint: "remove deletes.keep, or sync into a destination that can; the hub can", Exit: ExitUsage},
	CodeCanary:          {Title: "a key that must exist is missing at the source", Hint: "check the source; if the key is really gone remove it from deletes.canary, or run again with --approve and the plan's id", Exit: ExitGuard},
	CodeChangedSince:    {Title: "records have been changed since the run that is being undone", Hint: "gapless undo RUN --dry-run names them; --force puts them back nevertheless", Exit: ExitGuard},
	CodeUndone:          {Title: "a run was undone, so that the destination is not in step", Hint: "run the connector: everything is read and compared", Exit: ExitUnrecoverable},
}

// Codes returns the table of all codes in ascending order.
func Codes() []CodeInfo {
	list := make([]CodeInfo, 0, len(codes))
	for _, c := range slices.Sorted(maps.Keys(codes)) {
		info := codes[c]
		info.Code = c
		list = append(list, info)
	}
	return list
}

// HintFor returns the hint of an error, its own or its code's.
func HintFor(e *Error) string {
	if e.Hint != "" {
		return e.Hint
	}
	return codes[e.Code].Hint
}
