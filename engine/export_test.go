package engine

// OnStep has fn called before and after each durable step.
func (e *Engine) OnStep(fn func(name string)) { e.step = fn }
