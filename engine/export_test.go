package engine

// OnStep has fn called before and after each durable step.
func (e *Engine) OnStep(fn func(name string)) { e.step = fn }

// Undigested has certificates made without digests.
func (e *Engine) Undigested() { e.undigested = true }
