package s3

import (
	"fmt"
	"slices"
)

// ForeignKey returns the field by which records of a component's table refer to
// their master, such as organisation_id for org_organisation and org_office;
// "" if components of that table are not taken out of such masters.
type ForeignKey func(master, component string) string

// Split takes the components out of a resource, and theirs out of them: each
// becomes a resource of its own with a reference to its master, as if its table
// had been exported by itself. The result is the resource, its components and
// theirs, each master before its components. Components without a uuid and
// those of tables without a foreign key stay where they are; so do all if the
// master has no uuid. The resource passed in is not changed.
func Split(r Resource, key ForeignKey) []Resource {
	return appendSplit(nil, r, key)
}

func appendSplit(list []Resource, r Resource, key ForeignKey) []Resource {
	at := len(list)
	list = append(list, r)
	var stay []Resource
	for _, c := range r.Components {
		field := key(r.Name, c.Name)
		if field == "" || r.UUID == "" || c.UUID == "" {
			stay = append(stay, c)
			continue
		}
		if c.Reference(field) == nil {
			c.References = append(slices.Clip(c.References), Reference{Field: field, Resource: r.Name, UUID: r.UUID})
		}
		list = appendSplit(list, c, key)
	}
	list[at].Components = stay
	return list
}

// Join puts components back into their masters: every resource that refers by
// its foreign key to one of the list becomes its component, behind those that
// the master has already. The rest is returned in order. Resources that belong
// to each other in a circle, or uuids that stand twice in a table, are an
// error. The resources passed in are not changed.
func Join(list []Resource, key ForeignKey) ([]Resource, error) {
	type identity struct{ table, uuid string }
	index := make(map[identity]int, len(list))
	for i, r := range list {
		id := identity{r.Name, r.UUID}
		if _, twice := index[id]; twice && r.UUID != "" {
			return nil, fmt.Errorf("%s %q stands twice", r.Name, clip(r.UUID))
		}
		index[id] = i
	}
	joined := joiner{list: slices.Clone(list), children: make([][]int, len(list))}
	var roots []int
	for i, r := range list {
		master := -1
		at := slices.IndexFunc(r.References, func(f Reference) bool {
			m, ok := index[identity{f.Resource, f.UUID}]
			master = m
			return ok && f.UUID != "" && key(f.Resource, r.Name) == f.Field
		})
		if at < 0 {
			roots = append(roots, i)
			continue
		}
		joined.list[i].References = slices.Clip(slices.Concat(r.References[:at], r.References[at+1:]))
		joined.children[master] = append(joined.children[master], i)
	}
	var out []Resource
	for _, i := range roots {
		out = append(out, joined.take(i))
	}
	if joined.taken < len(list) {
		return nil, fmt.Errorf("%d resources belong to each other in a circle", len(list)-joined.taken)
	}
	return out, nil
}

// joiner puts resources into one another.
type joiner struct {
	list     []Resource
	children [][]int // of each resource, in order
	taken    int
}

// take returns a resource with all that belongs to it.
func (j *joiner) take(i int) Resource {
	j.taken++
	r := j.list[i]
	r.Components = slices.Clip(r.Components)
	for _, c := range j.children[i] {
		r.Components = append(r.Components, j.take(c))
	}
	return r
}
