package car

import "strings"

// Model is the id, and the collection, of a partition that holds a whole graph.
// Its keys are those of [ModelKey], and its position is the source's
// model_state_id as it stands, so that it can take the place of a connector
// of another make.
const Model = "@model"

// ModelKey is the key of a row within [Model]. The id of an edge is its
// [wire.EdgeKey].
func ModelKey(collection, id string) string { return collection + "/" + id }

// SplitModelKey is the reverse of [ModelKey].
func SplitModelKey(key string) (collection, id string, ok bool) {
	collection, id, ok = strings.Cut(key, "/")
	return collection, id, ok && collection != "" && id != ""
}
