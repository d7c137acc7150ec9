package pacifica

const help = `x`
