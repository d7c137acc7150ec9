package s3_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// A document in one notation becomes records, and a document in the other.
func Example() {
	const document = `<s3xml>
	  <resource name="org_office" uuid="urn:acme:off:1" modified_on="2026-11-01T10:00:00Z">
	    <data field="name">HQ</data>
	    <data field="year" value="1999"/>
	    <reference field="location_id" resource="gis_location" uuid="urn:acme:loc:1"/>
	  </resource>
	</s3xml>`
	out := s3.NewEncoder(os.Stdout, s3.S3JSON, s3.NewDocument(1), s3.EncodeOptions{})
	in := s3.NewDecoder(strings.NewReader(document), s3.S3XML, s3.DecodeOptions{})
	for r, err := range in.Resources() {
		if err != nil {
			fmt.Println(err)
			return
		}
		record, err := r.Record()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s\n", record.Key, record.Data)
		if err := out.Encode(&r); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := out.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// urn:acme:off:1 {"name":"HQ","year":1999,"location_id":"urn:acme:loc:1","_references":{"location_id":{"resource":"gis_location"}},"_meta":{"uuid":"urn:acme:off:1","modified_on":"2026-11-01T10:00:00"}}
	// {"@success":"true","@results":"1","$_org_office":[{"@uuid":"urn:acme:off:1","@modified_on":"2026-11-01T10:00:00","name":"HQ","year":{"@value":1999},"$k_location_id":{"@resource":"gis_location","@uuid":"urn:acme:loc:1"}}]}
}
