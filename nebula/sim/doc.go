// Package sim is a model server that needs no GPU: it speaks the OpenAI protocol on a socket, takes as long over each
// request as a real board would, and tells simulated boards what they draw meanwhile.
//
// One engine works as a continuous-batching server does. A waiting request is admitted by running its prefill alone, and
// every request that was decoding stands still until it is done; otherwise each step gives one token to every running
// request. How long work takes is Timing's matter (a roofline fitted to published measurements), what it draws that of
// Power. The engine keeps absolute deadlines, so a late timer delays one token and not those after it.
//
// Tokens are those of package tokens: usage counts the text of the prompt alone, where a real server adds its chat
// template. Nothing is cached between requests.
//
// Because the server knows what really happened, it can write it down: a truth file holds the true stage boundaries of
// each request, against which a trace can be judged.
package sim
