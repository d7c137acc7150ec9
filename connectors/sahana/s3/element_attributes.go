package s3

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// attributes calls attr for what the members of r say in attributes, but the
// name, in a fixed order, and for the others behind them.
func (r *Resource) attributes(times TimeForm, attr func(name, value string)) {
	set := func(name, value string) {
		if value != "" {
			attr(name, value)
		}
	}
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			attr(name, FormatTime(t, times))
		}
	}
	set("alias", r.Alias)
	set("uuid", r.UUID)
	set("tuid", r.TUID)
	if r.MCI != nil {
		attr("mci", strconv.Itoa(*r.MCI))
	}
	at("created_on", r.CreatedOn)
	at("modified_on", r.ModifiedOn)
	set("created_by", r.CreatedBy)
	set("modified_by", r.ModifiedBy)
	set("owned_by_user", r.OwnedByUser)
	set("owned_by_group", r.OwnedByGroup)
	if r.Deleted {
		attr("deleted", "True")
	}
	set("replaced_by", r.ReplacedBy)
	if r.Unapproved {
		attr("approved", "false")
	}
	set("url", r.URL)
	set("id", r.ID)
	set("error", r.Error)
	for _, a := range r.Other {
		attr(a.Name, a.Value)
	}
}

// setAttribute takes an attribute other than the name. An error means that it
// cannot be understood, and is not taken.
func (r *Resource) setAttribute(name, value string, rules Rules) (err error) {
	switch name {
	case "alias":
		r.Alias = value
	case "uuid":
		r.UUID = value
	case "tuid":
		r.TUID = value
	case "mci":
		r.MCI, err = parseMCI(value)
	case "created_on":
		r.CreatedOn, err = parseTimeAttribute(name, value, rules)
	case "modified_on":
		r.ModifiedOn, err = parseTimeAttribute(name, value, rules)
	case "created_by":
		r.CreatedBy = value
	case "modified_by":
		r.ModifiedBy = value
	case "owned_by_user":
		r.OwnedByUser = value
	case "owned_by_group":
		r.OwnedByGroup = value
	case "deleted":
		r.Deleted = strings.EqualFold(value, "true")
	case "replaced_by":
		r.ReplacedBy = value
	case "approved":
		r.Unapproved = strings.EqualFold(value, "false")
	case "url":
		r.URL = value
	case "id":
		r.ID = value
	case "error":
		r.Error = value
	default:
		r.Other = append(r.Other, Attribute{name, value})
	}
	return err
}

func parseMCI(value string) (*int, error) {
	if value == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("attribute mci: %q is no count", clip(value))
	}
	return &n, nil
}

func parseTimeAttribute(name, value string, rules Rules) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := ParseTime(value, rules)
	if err != nil {
		return t, fmt.Errorf("attribute %s: %w", name, err)
	}
	return t, nil
}

// attributes calls attr for all attributes of a data element but its field and
// its value.
func (f *Field) attributes(attr func(name, value string)) {
	set := func(name, value string) {
		if value != "" {
			attr(name, value)
		}
	}
	set("url", f.URL)
	set("filename", f.Filename)
	set("error", f.Error)
	for _, a := range f.Other {
		attr(a.Name, a.Value)
	}
}

func (f *Field) setAttribute(name, value string) {
	switch name {
	case "url":
		f.URL = value
	case "filename":
		f.Filename = value
	case "error":
		f.Error = value
	default:
		f.Other = append(f.Other, Attribute{name, value})
	}
}

// attributes calls attr for all attributes of a reference but its field and
// what it refers to by uuid.
func (f *Reference) attributes(attr func(name, value string)) {
	set := func(name, value string) {
		if value != "" {
			attr(name, value)
		}
	}
	set("tuid", f.TUID)
	set("lat", f.Lat)
	set("lon", f.Lon)
	set("error", f.Error)
	for _, a := range f.Other {
		attr(a.Name, a.Value)
	}
}

func (f *Reference) setAttribute(name, value string) {
	switch name {
	case "resource":
		f.Resource = value
	case "uuid":
		f.setUUID(value)
	case "tuid":
		f.TUID = value
	case "lat":
		f.Lat = value
	case "lon":
		f.Lon = value
	case "error":
		f.Error = value
	default:
		f.Other = append(f.Other, Attribute{name, value})
	}
}

// setUUID takes one uuid or a JSON list of them.
func (f *Reference) setUUID(value string) {
	f.UUID, f.UUIDs = value, nil
	if strings.HasPrefix(value, "[") {
		var list []string
		if json.Unmarshal([]byte(value), &list) == nil && list != nil {
			f.UUID, f.UUIDs = "", list
		}
	}
}

// known reports whether an attribute of this name has a member of its own in
// an element of this kind, so that it may not be among the others.
func known(element, name string) bool {
	switch element {
	case "resource":
		var r Resource
		return name == "name" || r.setAttribute(name, "", RulesPlain) == nil && len(r.Other) == 0
	case "data":
		var f Field
		f.setAttribute(name, "")
		return name == "field" || name == "value" || len(f.Other) == 0
	case "reference":
		var f Reference
		f.setAttribute(name, "")
		return name == "field" || len(f.Other) == 0
	}
	return false
}
