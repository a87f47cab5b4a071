from atasker_like import TT_MP, background_task, wait_completed


# each call runs in a pool thread
@background_task
def area(width, height):
    return width * height


# TT_MP: each call runs in a pool process
@background_task(tt=TT_MP)
def power(base, exponent):
    return base ** exponent


# programs with process tasks need this line
if __name__ == "__main__":
    print(wait_completed([area(3, 4), area(5, 6), area(7, 8)]))
    print(power(2, 100).value())
