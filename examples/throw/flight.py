from math import cos, hypot, radians, sin

DRAG = {"cannonball": 0.0005, "football": 0.012, "beach ball": 0.14}


def throw(ball: str, angle: float) -> dict[str, float]:
    x, y, u, v = 0.0, 1.8, 20 * cos(radians(angle)), 20 * sin(radians(angle))
    while y > 0:
        k = DRAG[ball] * hypot(u, v)
        x, y, u, v = x + u * 0.001, y + v * 0.001, u - k * u * 0.001, v - (9.81 + k * v) * 0.001
    return {"distance": x}
