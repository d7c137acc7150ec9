// Package event reads CloudEvents: version 1.0, and 0.1 with its names in
// camel case, which is still in the field. Events come as JSON documents, in
// batches, or with their attributes in the headers of a message; whatever form
// they came in, they are one [Event] afterwards, and written as 1.0.
// A [Subscription] says which events are wanted, by type, source and JSONPath.
//
// Attributes are checked, and written, by the CloudEvents SDK. Documents are
// decoded here: the SDK knows nothing before 0.3, and trusts the bytes of
// strangers more than a receiver may.
//
// Nothing here listens, stores, retries or knows what an event's data means.
//
//	events, err := event.FromRequest(r.Header, body)
//	for _, e := range events {
//		if subscription.Matches(e) { ... }
//	}
package event
