// The few functions that distributions need, from the C library.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

func zipfWeight(_ key: Int, _ exponent: Double) -> Double {
    exponent == 1 ? 1 / Double(key) : pow(Double(key), -exponent)
}

func expMinusOne(_ value: Double) -> Double { expm1(value) }

/// Two independent numbers of the standard normal distribution (Box and Muller).
func normalPair(_ generator: inout SplitMix64) -> (Double, Double) {
    let radius = sqrt(-2 * log(1 - generator.uniform()))
    let angle = 2 * Double.pi * generator.uniform()
    return (radius * cos(angle), radius * sin(angle))
}

func exponential(_ value: Double) -> Double { exp(value) }
