package server

// DecodeImport decodes an import with the core collections.
func DecodeImport(body []byte) (count, problems int, err error) {
	e, found, err := decodeEnvelope(body, newSchema(nil))
	if err != nil {
		return 0, 0, err
	}
	for _, r := range e.rows {
		count += r.batch.Len()
	}
	return count, found.count, nil
}

// Occupy takes all places of queries, until release is called.
func (s *Server) Occupy() (release func()) {
	for range maxQueries {
		s.queries <- struct{}{}
	}
	return func() {
		for range maxQueries {
			<-s.queries
		}
	}
}
